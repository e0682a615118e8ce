"""Time to accuracy: seconds of training until the validation reaches a mark: `best`, `strong`, a plain loop.

The clock runs from the start of the training, with the start of the loader processes and the validation of each epoch,
to the end of the validation that reaches the mark, where the training is stopped. The plain loop is what a user would
write with the same network: PIL, torchvision's transforms, float32, a constant learning rate.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from actionrec.datasets import stanford40
from actionrec.experiment.build import create_data, create_module
from actionrec.experiment.training import create_trainer
from actionrec.networks import backbone
from benchmarks.common import composed, fresh, median, run_verb
from benchmarks.training.plain import BATCH, PlainStills

ROUNDS = 3
# Validation accuracies; that of flow is 0.9 of the last one of `strong`, on J-HMDB's split 1 at 112 pixels.
MARKS = {"stills": 0.8, "flow": 0.31}
LIMIT = 4  # epochs after which the plain loop gives up
NETWORK = "efficientnet_lite0"


class Curve(NamedTuple):
    """Validation accuracy after each epoch, and the seconds until then."""

    seconds: list[float]
    accuracy: list[float]

    def until(self, mark: float) -> tuple[float, bool]:
        """Seconds until the accuracy is at least the mark, and whether it is; all seconds if it never is."""
        return next(((s, True) for s, found in zip(*self, strict=True) if found >= mark), (self.seconds[-1], False))


class Clock(Callback):
    """Takes the curve of a training, and stops it at a mark."""

    def __init__(self, mark: float) -> None:
        self.mark = mark
        self.curve = Curve([], [])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.curve.seconds.append(time.perf_counter() - self._began)
        self.curve.accuracy.append(float(trainer.callback_metrics["val/acc"]))
        trainer.should_stop = self.curve.accuracy[-1] >= self.mark


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Seconds to the mark on the pooled stills, and on flow of J-HMDB's split 1 where its clips are there.

    The sides take turns; `time_to_accuracy/<data>/<side>` is how many times sooner `best` is there, or, if that side
    never is, how many times the seconds of `best` it has trained.
    """
    figures, rows = {}, []
    sides: dict[str, tuple[str, ...]] = {"stills": ("best", "strong", "plain")}
    if (options.data / "jhmdb" / "videos" / "golf").is_dir():
        run_verb("extract_flow", flow(options.data))
        sides["flow"] = ("best", "strong")
    for data, names in sides.items():
        found: list[dict[str, Any]] = []
        for seed in range(ROUNDS):
            for name in names:
                curve = fresh(_curve, options.data, data, name, seed)
                taken, reached = curve.until(MARKS[data])
                found.append(
                    {"data": data, "with": name, "seed": seed, "mark": MARKS[data], "epochs": len(curve.seconds)}
                    | {"val/acc": round(curve.accuracy[-1], 4), "reached": reached, "seconds": round(taken, 1)}
                )
                print(found[-1], flush=True)
        for name in names[1:]:
            ours, others = ([row["seconds"] for row in found if row["with"] == each] for each in ("best", name))
            ratios = [other / own for own, other in zip(ours, others, strict=True)]
            figures[f"time_to_accuracy/{data}/{name}"] = median(ratios)
        rows += found
    return figures, rows


def _curve(data: Path, kind: str, name: str, seed: int) -> Curve:
    if name == "plain":
        return plain_curve(data, seed)
    overrides = stills(data) if kind == "stills" else ["experiment=flow", *flow(data)]
    config = composed("train", f"recipe={name}", f"backbone={NETWORK}", "init_from=null", f"seed={seed}", *overrides)
    torch.manual_seed(seed)
    samples = create_data(config)
    module = create_module(config, samples, {})
    clock = Clock(MARKS[kind])
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        config.callbacks = {key: config.callbacks[key] for key in ("best", "last")}
        create_trainer(config, [clock]).fit(module, samples)
    return clock.curve


def stills(data: Path) -> list[str]:
    """The pooled stills, as overrides."""
    place = f"paths.stanford40={data / 'stanford40'}"
    return ["experiment=stanford40_frame", "paths=real", "paths.name=stills", place, "dataset.protocol=pooled"]


def flow(data: Path) -> list[str]:
    """The clips of J-HMDB, as overrides."""
    return [
        "dataset=jhmdb",
        "paths=real",
        "paths.name=jhmdb",
        f"paths.root={data}",
        "data.actions=all",
        "data.size=112",
    ]


def plain_curve(data: Path, seed: int, limit: int = LIMIT) -> Curve:
    """The plain loop on the pooled stills, to the mark or for `limit` epochs."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    actions, splits = stanford40.index(data / "stanford40", "shared", "pooled")
    trunk = backbone.create(NETWORK, "DEFAULT")
    network = nn.Sequential(trunk, nn.Linear(trunk.features, len(actions))).to(device)
    train = DataLoader(PlainStills(splits.train, actions, 224), BATCH, shuffle=True, num_workers=2, drop_last=True)
    seen = PlainStills(splits.val, actions, 224)
    seen.transform = v2.Compose([v2.Resize((224, 224)), *seen.transform.transforms[-3:]])
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4)
    curve = Curve([], [])
    began = time.perf_counter()
    while len(curve.seconds) < limit and max(curve.accuracy, default=0) < MARKS["stills"]:
        network.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images.to(device)), labels.to(device), label_smoothing=0.1)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = [
                network(images.to(device)).argmax(1).cpu().eq(labels) for images, labels in DataLoader(seen, BATCH)
            ]
        curve.accuracy.append(float(torch.cat(right).float().mean()))
        curve.seconds.append(time.perf_counter() - began)
    return curve
