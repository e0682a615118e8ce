import math

import pytest

from actionrec.reporting import results
from actionrec.reporting.chain import Chain
from actionrec.reporting.gather import Fusion, Outputs, Run, Study
from actionrec.reporting.tables import Estimate, Spread
from tests.reporting.trees import STAGES, made_scores


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


def test_fusions_are_averaged_over_splits_and_not_shown_of_one(tmp_path):
    fusions = [
        Fusion(f"split{split}-seed{seed}", [{"network": "max", "test/acc": value}])
        for split, seed, value in ((1, 0, 0.4), (1, 1, 0.6), (2, 0, 0.7))
    ]
    [row] = results.fusions_table(Outputs(tmp_path, fusions=fusions)).rows
    assert row == ("max", 2, *[pytest.approx(value) for value in (0.6, math.sqrt(0.02), math.sqrt(0.02))])
    assert results.fusions_table(Outputs(tmp_path, fusions=fusions[:1])) is None


def test_the_headline_says_whether_two_streams_are_shown_to_be_better():
    def chain(skill: float) -> Chain:
        frame, flow, both = (
            run_of(stage, 1, 0, 0.5, each) for stage, each in zip(STAGES[1:], (0, 1, skill), strict=True)
        )
        flow.metrics["val/acc"] = 0.6  # on validation, whatever the test says
        frame.metrics.update({"val/acc": 0.5, "test/acc": 0.7})
        return Chain(1, 0, {run.stage: run for run in (frame, flow, both)})

    def said(skill: float) -> str:
        return results.headline(chain(skill), results.comparison_table(chain(skill), pytest.fail))[-1]

    assert said(5).startswith("Against hmdb51_flow, which is the better stream")
    assert said(5).endswith("two streams are better than one.")
    assert said(1).endswith("the interval holds zero, so neither is shown to be better.")
    assert said(-5).endswith("two streams are worse than one.")
    assert results.headline(Chain(None, None), None) == ["There is no finished run."]


def test_scores_that_cannot_be_compared_are_told_of():
    frame, flow = run_of("hmdb51_frame", 1, 0, 0.5, 1), run_of("hmdb51_flow", 1, 0, 0.5)
    flow = Run(*[*vars(flow).values()][:5], made_scores(1, n=56))
    told = []
    chain = Chain(1, 0, {"hmdb51_frame": frame, "hmdb51_flow": flow})
    assert results.comparison_table(chain, lambda run, reason: told.append((run.stage, reason))) is None
    [(stage, reason)] = told
    assert stage == "hmdb51_flow"
    assert "4 names are missing" in reason


def test_a_studys_spread_and_interval_go_with_their_means():
    rows = [
        {"split": 1, "test/acc": 0.5, "test/acc sd": 0.1},
        {"split": 2, "test/acc": 0.6, "test/acc sd": None, "test/acc low": 0.4, "test/acc high": 0.7},
    ]
    table = results.study_table("study", Study("some", {"best": {"split": 2}, "rows": rows}, []))
    assert table.header == ("split", "test/acc")
    assert table.rows == [(1, Spread(0.5, 0.1)), (2, Spread(0.6, None, 0.4, 0.7))]
    assert table.note == "Best on validation: split 2."


def test_all_keys_of_a_studys_rows_are_columns():
    rows = [{"data.size": 112, "test/acc": 0.5}, {"data.size": 224, "sd": 0.1, "runs": ["a", "b"]}]
    table = results.study_table("study", Study("image_size", {"stage": "hmdb51_flow", "rows": rows}, []))
    assert table.header == ("data.size", "test/acc", "sd", "runs")
    assert table.rows == [(112, 0.5, None, None), (224, None, 0.1, "a, b")]


def test_the_better_stream_of_a_fusion_has_no_difference():
    rows = [
        {"network": "flow", "test/acc": 0.5},
        {"network": "sum", "test/acc": 0.6, "difference": 0.1, "low": 0, "high": 0.2},
    ]
    table = results.fusion_table(Fusion("split1-seed0", rows))
    assert [row[-2] for row in table.rows] == [None, Estimate(0.1, 0, 0.2, True)]
