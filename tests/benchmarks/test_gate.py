"""The benchmark of gated fusions."""

import json
import shutil

import pytest
import torch

from actionrec.evaluation import scores
from actionrec.evaluation.scores import Scores
from actionrec.runs import folds
from actionrec.runs.manifest import Manifest
from actionrec.system.errors import ActionRecError
from benchmarks import gate

ACTIONS = ("clap", "run", "wave")


def write(path, right, prefix, noise=0.0):
    """Scores of 30 clips of ten source videos, of which `right` clips are right; with noise, which those are varies."""
    generator = torch.Generator().manual_seed(right)
    labels = torch.arange(30) % 3
    order = torch.randperm(30, generator=generator) if noise else torch.arange(30)
    wrong = 1 + (torch.rand(30, generator=generator) < 0.5).long() if noise else 1
    answers = torch.where(order < right, labels, (labels + wrong) % 3)
    logits = 2 * torch.eye(3)[answers] + noise * torch.randn(30, 3, generator=generator)
    names = [f"{prefix}-{row}.avi" for row in range(30)]
    path.parent.mkdir(parents=True, exist_ok=True)
    scores.save(Scores(names, logits, labels, ACTIONS, [f"{prefix}{row // 3}" for row in range(30)]), path)


def test_the_difference_is_that_of_the_chosen_stream(tmp_path, monkeypatch):
    run = tmp_path / "both_gated/split1-seed0"
    write(run / "scores.npz", 24, "test")
    (run / "gate.json").write_text(json.dumps({"chosen": "product", "single": "flow"}))
    parents = {stream: tmp_path / stream / "split1-seed0" for stream in ("frame", "flow")}
    for stream, right in (("frame", 27), ("flow", 18)):  # the frame is better on the test, and was not chosen
        write(parents[stream] / "scores.npz", right, "test")
        for fold in range(folds.COUNT + 1):
            write(folds.fold_run(parents[stream], fold) / "scores_val.npz", right - fold, f"fold{fold}", noise=0.1)
    lineage = {stream: {"path": str(path / "checkpoints/best.ckpt")} for stream, path in parents.items()}
    members = {"both_bagged": 5}
    bagged = tmp_path / "both_bagged/split1-seed0"
    shutil.copytree(run, bagged)
    for fold in range(1, folds.COUNT + 1):  # other networks of the streams, of which the flow's are right more often
        for stream, right in (("frame", 27), ("flow", 21)):
            write(folds.fold_run(parents[stream], fold) / "scores.npz", right, "test")
    monkeypatch.setattr(
        gate,
        "read",
        lambda path: {
            "lineage": {"parents": lineage},
            "hyper_parameters": {"members": members.get(path.parents[2].name, 1)},
        },
    )
    refit = tmp_path / "both_refit/split1-seed0"
    shutil.copytree(run, refit)
    Manifest({"refit": True}).write(refit)
    for stream, right in (("frame", 27), ("flow", 24)):  # the networks of all clips
        write(folds.fold_run(parents[stream], folds.ALL) / "scores.npz", right, "test")
    for name in ("split2-seed0.partial", "split1-seed0.replaced"):  # a training's folders have a gate, and are no runs
        run.with_name(name).mkdir()
        shutil.copy(run / "gate.json", run.with_name(name))
    rows = gate.measure(tmp_path)
    assert [(each["stage"], each["networks"]) for each in rows] == [
        ("both_bagged", "5"),
        ("both_bagged", "1"),
        ("both_gated", "1"),
        ("both_refit", "1, of all clips"),
        ("both_refit", "1"),
    ]
    assert [each["streams"] for each in rows] == [
        "frame 0.900, flow 0.700",
        "frame 0.900, flow 0.600",
        "frame 0.900, flow 0.600",
        "frame 0.900, flow 0.800",
        "frame 0.900, flow 0.600",
    ]
    of_bagged, against_one, row, of_refit, against_own = rows
    assert [each["difference"] for each in (of_refit, against_own)] == pytest.approx([0, 6 / 30])
    assert [each["single"] for each in (of_bagged, against_one)] == pytest.approx([21 / 30, 18 / 30])
    assert [each["difference"] for each in (of_bagged, against_one)] == pytest.approx([3 / 30, 6 / 30])
    assert (row["runs"], row["n"], row["sources"]) == (1, 30, 10)
    assert row["single"] == pytest.approx(18 / 30)
    assert row["difference"] == pytest.approx(6 / 30)
    assert row["low"] <= 6 / 30 <= row["high"]
    assert row["chosen"] == "product 1"
    assert row["permuted dropped"] == "2 of 2"


def test_a_folder_without_gated_runs_gets_one_line(tmp_path):
    with pytest.raises(ActionRecError, match="has no gated runs"):
        gate.measure(tmp_path)
