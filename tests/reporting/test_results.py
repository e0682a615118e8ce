import json
import math
from dataclasses import replace

import pytest

from actionrec.reporting import comparison, fusions, results
from actionrec.reporting.chain import Chain
from actionrec.reporting.outputs import read_outputs
from actionrec.reporting.records import Fusion, Outputs, Run, Study
from actionrec.reporting.tables import Estimate, Spread, comma_separated, few_sources, texts
from tests.reporting.trees import STAGES, gate_of, made_scores, write_run


def run_of(stage: str, split: int, seed: int, accuracy: float, skill: float | None = None) -> Run:
    scores = None if skill is None else made_scores(skill)
    return Run(stage, None, split, seed, {"test/acc": accuracy, "test/acc_macro": accuracy}, scores)


def test_a_split_counts_once_however_many_seeds_it_has():
    mean, between, within = results.spread([[0.4, 0.6], [0.7]])
    assert mean == pytest.approx(0.6)
    assert between == pytest.approx(math.sqrt(0.02))
    assert within == pytest.approx(math.sqrt(0.02))
    assert results.spread([[0.4]]) == (0.4, None, None)


def test_cross_validation_is_of_stages_with_several_runs(tmp_path):
    runs = [run_of("hmdb51_flow", split, 0, 0.5 + split / 10) for split in (1, 2, 3)]
    outputs = Outputs(tmp_path, [run_of("hmdb51_frame", 1, 0, 0.3), *runs])
    [row] = results.crossval_table(outputs).rows
    assert row == ("hmdb51_flow", "1, 2, 3", "0", *[pytest.approx(0.7), pytest.approx(0.1), None] * 2, "not recorded")
    assert results.crossval_table(Outputs(tmp_path, runs[:1])) is None


def test_gates_are_listed_with_what_they_chose_and_the_candidates_of_one(tmp_path):
    data = tmp_path / "demo"
    plain, gated = write_run(data, "hmdb51_flow"), write_run(data, "hmdb51_flow", split=2)
    (gated / "gate.json").write_text(json.dumps(gate_of("flow", "frame", "product")))
    outputs = read_outputs(data)
    assert outputs.damaged == []
    table = fusions.gates_table(outputs)
    assert table.rows == [
        ("hmdb51_flow", gated.name, "product", 0.5, "flow alone", 0.9, "frame 0.25, flow 0.50", 1600, 50)
    ]
    one, other = (next(run for run in outputs.runs if run.path == path) for path in (gated, plain))
    assert fusions.gate_table(other) is None
    table = fusions.gate_table(one)
    assert [row[:3] for row in table.rows] == [
        ("flow alone", False, 0.9),
        ("frame alone", False, 1.2),
        ("product", True, 0.5),
    ]
    assert table.header[3] == "± of the difference to flow alone"
    assert "1,600 training and validation clips of 50 source videos" in table.note
    assert fusions.gates_table(outputs.tagged("another")) is None


@pytest.mark.parametrize(
    "change", [{"weights": [1.0]}, {"chosen": 7}, {"candidates": {"flow alone": {"loss": "low"}}}, {"more": 1}]
)
def test_a_gate_that_is_none_is_damaged_and_its_run_is_kept(tmp_path, change):
    run = write_run(tmp_path / "demo", "hmdb51_flow")
    (run / "gate.json").write_text(json.dumps({**gate_of("flow", "frame", "product"), **change}))
    outputs = read_outputs(tmp_path / "demo")
    assert [each.path.name for each in outputs.damaged] == ["gate.json"]
    assert [(each.path, each.gate) for each in outputs.runs] == [(run, None)]


def test_fusions_are_averaged_over_splits_and_not_shown_of_one(tmp_path):
    found = [
        Fusion(f"split{split}-seed{seed}", [{"network": "max", "test/acc": value}])
        for split, seed, value in ((1, 0, 0.4), (1, 1, 0.6), (2, 0, 0.7))
    ]
    [row] = fusions.fusions_table(Outputs(tmp_path, fusions=found)).rows
    assert row[:5] == ("max", 2, *[pytest.approx(value) for value in (0.6, math.sqrt(0.02), math.sqrt(0.02))])
    assert row[5:] == (None, None)  # without differences
    assert fusions.fusions_table(Outputs(tmp_path, fusions=found[:1])) is None


def test_differences_to_the_better_stream_are_averaged_over_all_runs_or_not_shown(tmp_path):
    def fusion(split: int, seed: int, difference: float, low: float) -> Fusion:
        above = {"network": "max", "test/acc": 0.6, "difference": difference, "low": low, "high": 0.5}
        stream = {"network": "flow", "test/acc": 0.5, **({"difference": -0.1, "low": -0.2, "high": 0} if seed else {})}
        return Fusion(f"split{split}-seed{seed}", [stream, above])

    found = [fusion(1, 0, 0.1, 0.01), fusion(1, 1, 0.2, 0.1), fusion(2, 0, 0.05, -0.01)]
    rows = {row[0]: row[5:] for row in fusions.fusions_table(Outputs(tmp_path, fusions=found)).rows}
    assert rows == {"flow": (None, None), "max": (pytest.approx(0.1), "2 of 3")}  # a split counts once
    worse = [fusion(1, 0, -0.1, -0.2), fusion(2, 0, -0.3, -0.4)]
    assert texts(fusions.fusions_table(Outputs(tmp_path, fusions=worse)))[2][5:] == ["−0.200", "0 of 2"]


@pytest.mark.parametrize("key", ["segments", "crops", "position", "precision"])
def test_runs_that_were_measured_in_other_ways_are_not_averaged(tmp_path, key):
    protocol = {"segments": 1, "crops": 1, "position": "middle", "precision": "32-true"}
    runs = [
        replace(run_of("hmdb51_frame", split, 0, 0.5), protocol=protocol if split < 3 else {**protocol, key: "other"})
        for split in (1, 2, 3)
    ]
    [row] = results.crossval_table(Outputs(tmp_path, runs)).rows
    assert row[1] == "1, 2"
    assert row[-1] == "1x1, middle, 32-true"


def test_fusions_of_other_tags_are_other_rows(tmp_path):
    def fusion(name: str, value: float) -> Fusion:
        return Fusion(name, [{"network": "max", "test/acc": value}])

    one = [fusion("split1-seed0", 0.4), fusion("split1-seed0-strong", 0.8), fusion("mine", 0.1)]
    assert fusions.fusions_table(Outputs(tmp_path, fusions=one)) is None
    several = [*one, fusion("split2-seed0", 0.6), fusion("split1-seed1-strong", 1.0)]
    rows = fusions.fusions_table(Outputs(tmp_path, fusions=several)).rows
    assert [row[:3] for row in rows] == [("max", 2, pytest.approx(0.5)), ("max (strong)", 1, pytest.approx(0.9))]
    assert rows[1][3] is None  # of one split


def test_the_headlines_mean_is_of_the_chains_tag_and_views(tmp_path):
    protocols = {"segments": 1, "crops": 1, "precision": "32"}, {"segments": 25, "crops": 10, "precision": "32"}
    runs = [
        replace(run_of("hmdb51_flow", split, 0, accuracy), tag=tag, protocol=protocol)
        for tag, protocol, accuracies in (
            (None, protocols[0], (0.1, 0.1)),
            ("strong", protocols[0], (0.6, 0.8)),
            ("strong", protocols[1], (0.9, 0.9)),
        )
        for split, accuracy in enumerate(accuracies, start=1)
    ]
    crossval = results.crossval_table(Outputs(tmp_path, runs))
    for run, said in ((runs[0], "hmdb51_flow over splits 1, 2"), (runs[2], "hmdb51_flow (strong) over splits 1, 2")):
        found = comparison.headline(Chain(1, 0, {run.stage: run}), None, crossval)
        [mean] = [line for line in found if " over splits " in line]
        assert mean.startswith(said)
        assert f"top-1 {'0.700 ± 0.141' if run.tag else '0.100 ± 0.000'}" in mean


def test_the_headline_says_whether_two_streams_are_shown_to_be_better():
    def chain(skill: float) -> Chain:
        frame, flow, both = (
            run_of(stage, 1, 0, 0.5, each) for stage, each in zip(STAGES[1:], (0, 1, skill), strict=True)
        )
        frame.metrics.update({"test/acc": 0.7, "val/acc": 0.5, "val/loss": 1.5})  # better on the test alone
        flow.metrics.update({"test/acc": 0.6, "val/acc": 0.5, "val/loss": 1.2})
        return Chain(1, 0, {run.stage: run for run in (frame, flow, both)})

    def said(skill: float) -> str:
        return comparison.headline(chain(skill), comparison.comparison_table(chain(skill), pytest.fail))[-1]

    assert said(5).startswith("Against hmdb51_flow, the better stream on validation, that is ")
    assert said(5).endswith("two streams are better than one.")
    assert said(1).endswith("the interval holds zero, so neither is shown to be better.")
    assert said(-5).endswith("two streams are worse than one.")
    assert comparison.headline(Chain(None, None), None) == ["There is no finished run."]


def test_no_stream_is_the_better_one_where_validation_is_not_known():
    frame, flow = run_of("hmdb51_frame", 1, 0, 0.5), run_of("hmdb51_flow", 1, 0, 0.6)
    frame.metrics["val/acc"] = 0.5
    chain = Chain(1, 0, {run.stage: run for run in (frame, flow)})
    assert comparison.better_stream(chain) is None
    flow.metrics["val/acc"] = 0.4
    assert comparison.better_stream(chain) is frame
    assert comparison.better_stream(Chain(None, None)) is None


def test_tables_with_intervals_say_of_how_many_sources_and_warn_of_few(tmp_path):
    frame, flow = run_of("hmdb51_frame", 1, 0, 0.5, 1), run_of("hmdb51_flow", 1, 0, 0.5, 2)
    warning = few_sources(20)
    assert warning.startswith("20 source videos are few")
    assert few_sources(30) == few_sources(None) == ""
    chain = Chain(1, 0, {run.stage: run for run in (frame, flow)})
    compared = comparison.comparison_table(chain, pytest.fail)
    assert "On the same clips from 20 source videos" in compared.note
    runs = results.runs_table(Outputs(tmp_path, [replace(run, path=tmp_path) for run in (frame, flow)]))
    assert [row[3] for row in runs.rows] == [20, 20]
    rows = [{"network": "flow", "test/acc": 0.5, "test/n": 60, "test/sources": 20}]
    fusion = fusions.fusion_table(Fusion("split1-seed0", rows))
    assert "n = 60 clips of 20 source videos" in fusion.note
    for note in (compared.note, runs.note, fusion.note):
        assert warning in note
    assert warning in comparison.headline(chain, compared)


def test_scores_that_cannot_be_compared_are_told_of():
    frame, flow = run_of("hmdb51_frame", 1, 0, 0.5, 1), run_of("hmdb51_flow", 1, 0, 0.5)
    flow = Run(*[*vars(flow).values()][:5], made_scores(1, n=56))
    told = []
    chain = Chain(1, 0, {"hmdb51_frame": frame, "hmdb51_flow": flow})
    assert comparison.comparison_table(chain, lambda run, reason: told.append((run.stage, reason))) is None
    [(stage, reason)] = told
    assert stage == "hmdb51_flow"
    assert "4 names are missing" in reason


def test_a_studys_spread_and_interval_go_with_their_means():
    rows = [
        {"split": 1, "test/acc": 0.5, "test/acc sd": 0.1},
        {"split": 2, "test/acc": 0.6, "test/acc sd": None, "test/acc low": 0.4, "test/acc high": 0.7},
    ]
    table = fusions.study_table("study", Study("some", {"best": {"split": 2}, "rows": rows}, []))
    assert table.header == ("split", "test/acc")
    assert table.rows == [(1, Spread(0.5, 0.1)), (2, Spread(0.6, None, 0.4, 0.7))]
    assert table.note == "Best on validation: split 2."


def test_all_keys_of_a_studys_rows_are_columns():
    rows = [{"data.size": 112, "test/acc": 0.5}, {"data.size": 224, "sd": 0.1, "runs": ["a", "b"]}]
    table = fusions.study_table("study", Study("image_size", {"stage": "hmdb51_flow", "rows": rows}, []))
    assert table.header == ("data.size", "test/acc", "sd", "runs")
    assert table.rows == [(112, 0.5, None, None), (224, None, 0.1, "a, b")]


def test_the_better_stream_of_a_fusion_has_no_difference():
    rows = [
        {"network": "flow", "test/acc": 0.5},
        {"network": "sum", "test/acc": 0.6, "difference": 0.1, "low": 0, "high": 0.2},
    ]
    table = fusions.fusion_table(Fusion("split1-seed0", rows))
    assert [row[-2] for row in table.rows] == [None, Estimate(0.1, 0, 0.2, True)]
    assert table.header[-2] == "top-1 − flow"
    assert "Differences are to flow, the better stream on the test part itself." in table.note  # of earlier versions
    rows[1]["against"] = "flow"
    table = fusions.fusion_table(Fusion("split1-seed0", rows))
    assert "Differences are to flow, the better stream on validation." in table.note


def test_margins_have_empty_cells_for_a_likelihood():
    rows = [{"network": "flow", "test/acc": 0.5, "test/loss": 1.0}, {"network": "linear SVM", "test/acc": 0.6}]
    table = fusions.fusion_table(Fusion("split1-seed0", rows))
    column = table.header.index("loss")
    assert [row[column] for row in table.rows] == [1.0, None]
    assert [line[column] for line in texts(table)] == ["loss", "1.000", "–"]
    csv = comma_separated(table).splitlines()
    assert csv[2].split(",")[csv[0].split(",").index("loss")] == ""
