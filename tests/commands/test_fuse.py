"""Fusions of runs that are made here, without a training: two checkpoints, and scores that are said to be theirs."""

import json
from pathlib import Path

import pytest
import torch

from actionrec.evaluation import scores
from actionrec.evaluation.scores import Scores
from actionrec.modules.checkpoint import Lineage
from actionrec.system.files import sha256

ACTIONS = ["clap", "wave"]
BACKBONE = {"name": "shufflenet_v2_x0_5", "weights": None}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}


def make_run(folder: Path, seed: int, optimizer=ADAM) -> Path:
    """A run of clips with scores of 8 clips a part."""
    best = folder / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    said = Lineage("FrameModule", "hmdb51_frame", "demo", 1, seed, ACTIONS, BACKBONE, {"size": 64}, ["train_0"])
    hparams = {"backbone": BACKBONE, "actions": ACTIONS, "optimizer": optimizer, "scheduler": None}
    weights = {"network.head.weight": torch.full((2, 2), float(seed))}
    torch.save({"state_dict": weights, "hyper_parameters": hparams, "lineage": said.plain()}, best)
    for part in scores.FILES:
        measure(folder, part, sha256(best), seed)
    return folder


def measure(folder: Path, part: str, checkpoint: str | None, seed: int = 0) -> None:
    """Write a part's scores; without a checkpoint as they were before they had a protocol."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(8) % 2
    logits = torch.randn(8, 2, generator=generator) + torch.nn.functional.one_hot(labels, 2)
    names = [f"{part}_{number}" for number in range(8)]
    seen = {"segments": 1, "crops": 1, "position": "middle", "precision": "32-true"}
    protocol = {"checkpoint": checkpoint, **seen} if checkpoint else None
    found = Scores(names, logits, labels, tuple(ACTIONS), [f"{name}_source" for name in names], protocol)
    scores.save(found, folder / scores.FILES[part])


@pytest.fixture
def runs(tmp_path) -> dict[str, Path]:
    return {name: make_run(tmp_path / name, seed) for seed, name in enumerate(("frame", "flow", "trained"))}


@pytest.fixture
def fuse(run, runs, tmp_path):
    """Fuse the runs; a network that fuses within has metrics.json, too."""
    (runs["trained"] / "metrics.json").write_text('{"val/acc": 0.5}')
    named = [*(f"runs.{name}={runs[name]}" for name in ("frame", "flow")), f"trained.trained={runs['trained']}"]
    named += ["trained.trained_conv=null"]
    return lambda *more: run("fuse", *named, f"paths.outputs={tmp_path / 'outputs'}", f"output={tmp_path / 'o'}", *more)


@pytest.mark.ci
def test_scores_of_the_runs_checkpoints_are_fused_and_so_are_those_of_before_it_was_recorded(fuse, runs, tmp_path):
    assert fuse().status == 0
    assert [row["network"] for row in json.loads((tmp_path / "o/fusion.json").read_text())][-1] == "trained"
    for part in scores.FILES:
        measure(runs["flow"], part, None, 1)
    assert fuse().status == 0


def test_without_training_scores_no_fusion_is_fitted_to_them(fuse, runs, tmp_path):
    assert fuse().status == 0
    whole = json.loads((tmp_path / "o/fusion.json").read_text())
    (runs["flow"] / scores.FILES["train"]).unlink()
    outcome = fuse()
    assert outcome.status == 0
    assert "flow: no training scores, so the rows of linear layer and linear SVM are left out" in outcome.err
    left = json.loads((tmp_path / "o/fusion.json").read_text())
    assert left == [row for row in whole if row["network"] not in ("linear layer", "linear SVM")]
    assert len(left) == len(whole) - 2


def test_without_validation_scores_nothing_is_chosen_by_them(fuse, runs, tmp_path):
    assert fuse().status == 0
    whole = json.loads((tmp_path / "o/fusion.json").read_text())
    (runs["flow"] / scores.FILES["val"]).unlink()
    outcome = fuse()
    assert outcome.status == 0
    said = "flow: no validation scores, so the rows of weighted, linear layer and linear SVM are left out"
    assert said in outcome.err
    left = {row["network"]: row for row in json.loads((tmp_path / "o/fusion.json").read_text())}
    assert [*left] == [
        row["network"] for row in whole if row["network"] not in ("weighted", "linear layer", "linear SVM")
    ]
    assert not any("against" in row for row in left.values())
    best = max(("frame", "flow"), key=lambda name: left[name]["test/acc"])
    assert [name for name, row in left.items() if "difference" not in row] == [best]
    assert left["product"]["difference"] == pytest.approx(left["product"]["test/acc"] - left[best]["test/acc"])
    assert f"Differences are to {best}, the better stream on the test part itself" in outcome.out


def test_a_table_of_other_streams_is_kept_unless_it_is_to_be_replaced(fuse, runs, tmp_path):
    assert fuse().status == 0
    there = (tmp_path / "o/fusion.json").read_text()
    third = f"runs.rgb={make_run(tmp_path / 'rgb', 3)}"
    outcome = fuse(third)
    assert outcome.status == 1
    assert outcome.err.strip().endswith(
        f"{tmp_path / 'o'} holds the fusions of frame, flow; name another folder by output=<folder>, or replace them "
        "by overwrite=true"
    )
    assert (tmp_path / "o/fusion.json").read_text() == there
    assert fuse(third, "overwrite=true").status == 0
    assert "holds the fusions of frame, flow, rgb;" in fuse().err


@pytest.mark.parametrize(
    ("stale", "part"), [("flow", "train"), ("frame", "val"), ("flow", "test"), ("trained", "test")]
)
def test_scores_of_another_checkpoint_than_the_runs_are_refused(fuse, runs, tmp_path, stale, part):
    """Here of one part alone, whose scores are of another checkpoint than the other parts', too."""
    measure(runs[stale], part, sha256(runs["trained" if stale == "frame" else "frame"] / "checkpoints/best.ckpt"))
    outcome = fuse()
    assert outcome.status == 1
    line = outcome.err.strip().splitlines()[-1]  # after those of networks that are not trained
    assert line.startswith(f"error: {runs[stale] / scores.FILES[part]}: these scores are of checkpoint ")
    assert f"actionrec evaluate experiment=hmdb51_frame checkpoint={runs[stale]}/checkpoints/best.ckpt" in line
    assert not (tmp_path / "o").exists()


def test_a_checkpoint_that_has_replaced_the_measured_one_is_refused(fuse, runs):
    best = runs["frame"] / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"]["network.head.weight"] += 1
    torch.save(content, best)
    outcome = fuse()
    assert outcome.status == 1
    assert "these scores are of checkpoint " in outcome.err


def test_an_optimiser_of_the_users_needs_to_be_trusted(fuse, run, tmp_path, monkeypatch):
    package = tmp_path / "mylab_of_this_fusion"
    package.mkdir()
    (package / "__init__.py").write_text("class Lion: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    lion = make_run(tmp_path / "lion", 3, {"_target_": f"{package.name}.Lion", "lr": 1e-3})
    refused = fuse(f"runs.flow={lion}")
    assert refused.status == 1
    line = refused.err.strip().splitlines()[-1]
    assert "trust=" in line
    outcome = fuse(f"runs.flow={lion}", f"trust=[{package.name}]")
    assert outcome.status == 0, outcome.err
