import json
import shutil

import pytest
import torch

from actionrec.reporting.outputs import curves, read_outputs
from actionrec.runs.folds import fold_run
from tests.reporting.trees import made_scores, write_run


def test_what_an_older_run_lacks_is_computed_from_its_scores(tmp_path):
    path = write_run(tmp_path / "demo", "hmdb51_flow")
    whole = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text(json.dumps({"test/acc": whole["test/acc"], "test/loss": 7.0}))
    [run] = read_outputs(tmp_path / "demo").runs
    assert run.metrics["test/loss"] == 7.0  # what is said counts
    for tag in ("test/map", "test/acc_low", "test/acc_high"):
        assert run.metrics[tag] == pytest.approx(whole[tag])
    assert (run.samples, run.sources) == (60, 20)


def test_intervals_that_do_not_say_of_how_many_sources_are_computed_anew(tmp_path):
    """They are of a version whose intervals were too narrow."""
    path = write_run(tmp_path / "demo", "hmdb51_flow")
    whole = json.loads((path / "metrics.json").read_text())
    older = {**whole, "test/acc_low": whole["test/acc"] - 0.01, "test/acc_high": whole["test/acc"] + 0.01}
    older.pop("test/sources")
    (path / "metrics.json").write_text(json.dumps(older))
    [run] = read_outputs(tmp_path / "demo").runs
    for tag in ("test/acc_low", "test/acc_high", "test/sources"):
        assert run.metrics[tag] == whole[tag]


def test_tables_among_the_metrics_are_passed_over(tmp_path):
    write_run(tmp_path / "demo", "hmdb51_flow")
    outputs = read_outputs(tmp_path / "demo")
    assert "test/confusion" not in outputs.runs[0].metrics
    assert outputs.damaged == []


def test_runs_are_in_the_order_of_their_numbers(tmp_path):
    for seed in (10, 9, 0):
        write_run(tmp_path / "demo", "hmdb51_flow", seed=seed)
    assert [run.seed for run in read_outputs(tmp_path / "demo").runs] == [0, 9, 10]


def test_a_run_without_its_checkpoint_is_kept_and_told_of(tmp_path):
    path = write_run(tmp_path / "demo", "hmdb51_flow")
    (path / "checkpoints" / "best.ckpt").unlink()
    outputs = read_outputs(tmp_path / "demo")
    assert outputs.runs[0].checkpoint is None
    assert "not there" in outputs.damaged[0].reason


@pytest.mark.parametrize(("said", "epoch"), [(1, 2), (2, 3), (3, 3)])
def test_the_kept_epoch_is_counted_from_one_and_is_one_of_the_training(tmp_path, said, epoch):
    """A checkpoint of after the training of three epochs, of a run that keeps its last one, says 3."""
    path = write_run(tmp_path / "demo", "hmdb51_flow")
    best = path / "checkpoints" / "best.ckpt"
    torch.save({**torch.load(best), "epoch": said}, best)
    [run] = read_outputs(tmp_path / "demo").runs
    assert run.checkpoint.epoch == epoch


def test_curves_are_by_epoch_and_leave_out_what_is_logged_at_the_end(tmp_path):
    write_run(tmp_path / "demo", "hmdb51_flow")
    [run] = read_outputs(tmp_path / "demo").runs
    thirds = [(1, 1.0), (2, pytest.approx(1 / 2)), (3, pytest.approx(1 / 3))]
    assert curves(run) == {tag: thirds for tag in ("train/loss", "val/loss", "train/acc", "val/acc")}


def test_of_an_epoch_that_was_trained_twice_the_later_counts(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    path = write_run(tmp_path / "demo", "hmdb51_flow")
    with SummaryWriter(str(path / "tensorboard"), filename_suffix=".later") as writer:
        writer.add_scalar("val/acc", 0.75, 20)
        writer.add_scalar("val/acc", 0.8, 30)
    [run] = read_outputs(tmp_path / "demo").runs
    assert curves(run)["val/acc"][2:] == [(3, 0.75), (4, pytest.approx(0.8))]


def test_scores_that_are_not_of_a_piece_are_damaged(tmp_path):
    from actionrec.evaluation import scores

    path = write_run(tmp_path / "demo", "hmdb51_flow")
    scores.save(made_scores(1.0)._replace(names=["one"]), path / "scores.npz")
    outputs = read_outputs(tmp_path / "demo")
    assert outputs.runs[0].scores is None
    assert "1 names of 4 actions do not go with (60, 4) logits" in outputs.damaged[0].reason


def test_networks_beside_the_chain_are_runs_as_well(tmp_path):
    data = tmp_path / "demo"
    write_run(data, "hmdb51_flow")
    (data / "hmdb51_flow").rename(data / "hmdb51_two_stream_conv")
    write_run(data, "hmdb51_flow")
    assert [run.stage for run in read_outputs(data).runs] == ["hmdb51_flow", "hmdb51_two_stream_conv"]


def test_the_runs_of_other_folds_are_no_run_and_no_damage(tmp_path):
    data = tmp_path / "demo"
    run = write_run(data, "hmdb51_flow")
    shutil.copytree(run, fold_run(run, 1))
    outputs = read_outputs(data)
    assert [each.path for each in outputs.runs] == [run]
    assert outputs.damaged == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not what was written there"),
        ("[1, 2]", "it holds no mapping"),
        ("7", "it holds no mapping"),
        ('{"test/acc": 0.', "not what was written there"),
        ("[" * 100_000, "not what was written there"),
        ('{"test/acc": 7}', "test/acc=7: must be a number of 0 to 1"),
        ('{"test/loss": 1e999}', "test/loss=inf"),
        ('{"test/acc": ' + "9" * 5000 + "}", "not what was written there"),
    ],
    ids=range(8),
)
def test_metrics_that_are_none_are_damaged_and_the_scores_say_them(tmp_path, content, says):
    path = write_run(tmp_path / "demo", "hmdb51_flow")
    whole = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text(content)
    outputs = read_outputs(tmp_path / "demo")
    [damage] = outputs.damaged
    assert says in damage.reason
    assert outputs.runs[0].metrics["test/acc"] == pytest.approx(whole["test/acc"])


def test_metrics_that_are_no_numbers_are_those_of_the_scores(tmp_path):
    """As earlier versions wrote NaN."""
    path = write_run(tmp_path / "demo", "hmdb51_flow")
    whole = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text('{"test/acc": NaN, "test/loss": Infinity, "test/map": null, "fit_seconds": "1"}')
    outputs = read_outputs(tmp_path / "demo")
    assert outputs.damaged == []
    for tag in ("test/acc", "test/loss", "test/map"):
        assert outputs.runs[0].metrics[tag] == pytest.approx(whole[tag])
    assert "fit_seconds" not in outputs.runs[0].metrics


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("fusion/split1-seed0/fusion.json", [{"network": "a", "test/acc": "0.5"}]),
        ("fusion/split1-seed0/fusion.json", [{"network": {"a": 1}, "test/acc": 0.5}]),
        ("fusion/split1-seed0/fusion.json", [1]),
        ("fusion/split1-seed0/fusion.json", [{"network": "a", "test/acc": 0.5, "difference": 0.1}]),
        ("fusion/split1-seed0/fusion.json", {"network": "a", "test/acc": 0.5}),
        ("sweeps/x/study.json", {"rows": {"a": 1}}),
        ("sweeps/x/study.json", {"rows": [{"test/acc": "0.5", "test/acc sd": None}]}),
        ("sweeps/x/study.json", {"rows": [{"test/acc": 0.5, "test/acc sd": 0.1, "test/acc low": 0.4}]}),
        ("sweeps/x/study.json", {"rows": [{"a": 1}], "title": ["x"]}),
        ("search/x/search.json", {"rows": [{"a": [[1]]}]}),
        ("search/x/search.json", []),
    ],
)
def test_tables_of_other_values_are_damaged(tmp_path, place, content):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(json.dumps(content))
    outputs = read_outputs(tmp_path)
    assert [damage.path for damage in outputs.damaged] == [tmp_path / place]
    assert not outputs.fusions + outputs.studies + outputs.searches
