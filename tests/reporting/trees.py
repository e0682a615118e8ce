"""Trees as runs leave them, without training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from actionrec.evaluation import metrics, plots, scores
from actionrec.evaluation.scores import Scores
from actionrec.settings.chain import FOLDER, NOTE, ChainConfig
from actionrec.system.files import sha256

STAGES = ("stanford40_frame", "hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream")
ACTIONS = ("clap", "climb", "run", "wave")
PARENTS = {
    "stanford40_frame": {},
    "hmdb51_frame": {"parent": "stanford40_frame"},
    "hmdb51_flow": {},
    "hmdb51_two_stream": {"frame": "hmdb51_frame", "flow": "hmdb51_flow"},
}


def made_scores(skill: float, n: int = 60, seed: int = 0) -> Scores:
    """Scores of four actions and five source videos an action, the better the more skill."""
    labels = torch.arange(n) % len(ACTIONS)
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, len(ACTIONS)))).float()
    noise[torch.arange(n), labels] += skill
    names = [f"film{index % 20}_{ACTIONS[index % len(ACTIONS)]}_{index}" for index in range(n)]
    return Scores(names, noise, labels, ACTIONS, [f"film{index % 20}" for index in range(n)])


def write_run(
    data: Path, stage: str, split: int = 1, seed: int = 0, skill: float = 1.0, tag: str = "", parent_tag: str = ""
) -> Path:
    """A finished run under `outputs/<data>`; its parents must be there."""
    path = data / stage / name(split, seed, tag)
    (path / "checkpoints").mkdir(parents=True)
    found = made_scores(skill, seed=100 * split + seed)
    scores.save(found, path / "scores.npz")
    numbers: dict[str, Any] = {**metrics.measure(found, "test"), **metrics.intervals(found, "test")}
    numbers |= metrics.measure(found, "val")
    numbers |= {"parameters": 11_182_668, "fit_seconds": 12.3, "epochs": 3, "test/confusion": [[1, 2], [3, 4]]}
    (path / "metrics.json").write_text(json.dumps(numbers))
    settings = f"stage: {stage}\nsplit: {split}\nseed: {seed}\noptimizer: {{lr: 0.001}}\ndata: {{size: 64}}\n"
    (path / "config.yaml").write_text(settings)
    with SummaryWriter(str(path / "tensorboard")) as writer:
        for epoch in range(3):
            for tag in ("train/loss", "val/loss", "train/acc", "val/acc"):
                writer.add_scalar(tag, 1 / (epoch + 1), 10 * epoch)
        for tag in ("val/acc", "test/acc"):  # what a finished run adds
            writer.add_scalar(tag, 0.9, 21)
    write_checkpoint(path, parents_of(data, stage, split, seed, parent_tag))
    return path


def name(split: int, seed: int, tag: str = "") -> str:
    """Of a run's folder."""
    return f"split{split}-seed{seed}{f'-{tag}' if tag else ''}"


def gate_of(single: str, other: str, chosen: str) -> dict[str, Any]:
    """The content of `gate.json` of two streams."""
    losses = {f"{single} alone": 0.9, f"{other} alone": 1.2, chosen: 0.5}
    candidates = {name: {"loss": loss, "error": 0.01, "accuracy": 0.5} for name, loss in losses.items()}
    said = {"chosen": chosen, "single": single, "streams": [other, single], "weights": [0.25, 0.5]}
    rest = {"temperatures": [1.0, 1.0], "mixes": False, "worse": 0.0, "clips": 1600, "sources": 50}
    return {**said, **rest, "candidates": candidates}


def write_stages(data: Path, chain: ChainConfig, split: int = 1, seed: int = 0) -> None:
    """A chain's every run, from its parents, and the chain as `actionrec chain` notes it."""
    for stage in chain.stages.values():
        parents = {}
        for role, parent in stage.parents.items():
            best = data / parent / chain.stages[parent].run(split, seed) / "checkpoints" / "best.ckpt"
            parents[role] = {"path": str(best), "sha256": sha256(best), "stage": parent, "data": data.name}
        run = write_run(data, stage.name, split if stage.split else 1, seed, skill=1 + len(parents))
        write_checkpoint(run, parents)
    shutil.copy(FOLDER / f"{chain.name}.yaml", data / NOTE)


def parents_of(data: Path, stage: str, split: int, seed: int, tag: str = "") -> dict[str, dict[str, Any]]:
    found = {}
    for role, parent in PARENTS.get(stage, {}).items():
        best = data / parent / name(1 if parent == STAGES[0] else split, seed, tag) / "checkpoints" / "best.ckpt"
        found[role] = {"path": str(best), "sha256": sha256(best), "stage": parent, "split": split, "seed": seed}
    return found


def write_checkpoint(run: Path, parents: dict[str, Any], note: str = "") -> None:
    split, seed = (int(part) for part in run.name.removeprefix("split").replace("-seed", "-").split("-")[:2])
    stage = run.parent.name
    lineage = {
        "model": "FrameModule",
        "stage": stage,
        "data": run.parents[1].name,
        "split": None if stage == STAGES[0] else split,
        "seed": seed,
        "actions": list(ACTIONS),
        "parents": parents,
        "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
        "versions": {"torch": "2.14.1"},
        "inputs": {"size": 64},
        "trained_on": ["a", "b"],
    }
    content = {"state_dict": {}, "hyper_parameters": {}, "lineage": lineage, "epoch": 1, "note": note or str(run)}
    torch.save(content, run / "checkpoints" / "best.ckpt")


def write_chain(data: Path, split: int = 1, seed: int = 0, tag: str = "") -> None:
    for stage, skill in zip(STAGES, (1.0, 0.8, 1.2, 2.5), strict=True):
        if not (data / stage / name(split, seed, tag)).exists() and not (stage == STAGES[0] and split > 1):
            write_run(data, stage, split, seed, skill, tag, tag)


def write_studies(data: Path) -> None:
    """A fusion table, a study and a search, as their verbs leave them."""
    better = {"network": "flow", "chosen": "", "test/acc": 0.5, "test/acc_low": 0.4, "test/acc_high": 0.6}
    other = {"network": "average", "chosen": "", "test/acc": 0.6, "difference": 0.1, "low": 0.0, "high": 0.2, "p": 0.04}
    fusion = data / "fusion" / "split1-seed0" / "fusion.json"
    fusion.parent.mkdir(parents=True)
    fusion.write_text(json.dumps([better, other]))
    picture = plots.png(plots.confusion_matrix(np.eye(2, dtype=int), ["a", "b"]))
    rows = [
        {"data.position": place, "runs": 2, "test/acc": accuracy, "sd": None, "n": 60}
        for place, accuracy in (("first", 0.45), ("middle", 0.5))
    ]
    study = {"name": "frame_position", "title": "Position of the frame", "stage": "hmdb51_frame", "rows": rows}
    search = {"name": "lr", "stage": "hmdb51_flow", "trials": 2, "best": {"optimizer.lr": 1e-3}, "rows": rows}
    for place, content, names in (
        ("sweeps/frame_position/study.json", study, ["study.png"]),
        ("search/lr/search.json", search, ["history.png", "importances.png"]),
    ):
        path = data / place
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
        for name in names:
            (path.parent / name).write_bytes(picture)
