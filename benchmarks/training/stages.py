"""Real stages against the bare step: the cost of loading, Lightning and our own glue beside the network."""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from actionrec.experiment.build import create_data, create_module
from actionrec.experiment.training import create_trainer
from actionrec.modules.base import ActionModule
from benchmarks.common import composed, fresh, median, run_verb
from benchmarks.data import FIGHT_ACTIONS, fights

STAGES = {"frame": "stanford40_frame", "flow": "hmdb51_flow", "two_stream": "hmdb51_two_stream"}
ROUNDS = 7  # many short ones, since a shared machine is not as fast in one second as in another
STEPS = 6  # of a round, on each side


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Samples/s of each stage and of its own step on one fixed batch, both sides taking turns in one process.

    `lightning_cost` feeds the Trainer that batch, too.
    """
    extract_flow(options.data)
    rows: list[dict[str, Any]] = []
    figures = {}
    for name in STAGES:
        found = fresh(_rounds, options.data, name, False)
        figures[f"limit_ratio/{name}"] = median([row["ratio"] for row in found])
        rows += found
    found = fresh(_rounds, options.data, "frame", True)
    figures["lightning_cost"] = round(1 - median([row["ratio"] for row in found]), 4)
    return figures, rows + found


def compose_stage(data: Path, name: str, *overrides: str) -> DictConfig:
    """The configuration of a stage on real data as a user trains it, from random weights."""
    settings = [f"experiment={STAGES.get(name, name)}", "recipe=strong", "backbone.weights=null", "init_from=null"]
    actions = [] if name == "frame" else [FIGHT_ACTIONS]
    return composed("train", *settings, *fights(data), *actions, *overrides)


def extract_flow(data: Path) -> None:
    """Extract the flow of the clips that are trained on, where it is missing."""
    run_verb("extract_flow", [*fights(data), FIGHT_ACTIONS])


class Watch(Callback):
    """Seconds of every training epoch, from its start to the end of its last step."""

    def __init__(self) -> None:
        self.stage: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        self._ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stage.append(self._ended - self._began)


class Turns(Watch):
    """Seconds of every training epoch, and after it of as many bare steps on one batch."""

    def __init__(self, batch: dict[str, Any]):
        super().__init__()
        self.batch = batch
        self.bare: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ActionModule)
        self._step = bare_step(pl_module, copy.deepcopy(pl_module.network), self.batch, trainer.precision)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        began = time.perf_counter()
        for _ in range(int(trainer.num_training_batches)):
            self._step()
        _wait()
        self.bare.append(time.perf_counter() - began)


def bare_step(module: ActionModule, network: nn.Module, batch: dict[str, Any], precision: str) -> Callable[[], None]:
    """A training step of a network like the module's, with its optimiser and precision, and nothing around it."""
    network.train()
    optimizer = instantiate(dict(module.optimizer), [p for p in network.parameters() if p.requires_grad])
    batch = {key: value.to(module.device) for key, value in batch.items() if isinstance(value, torch.Tensor)}
    inputs = [batch[stream] for stream in module.inputs["streams"]]

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(module.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = F.cross_entropy(network(*inputs), batch["label"], label_smoothing=module.label_smoothing)
        loss.backward()
        optimizer.step()

    return step


def train(
    config: DictConfig, watch: Callable[[dict[str, Any]], Watch], epochs: int, fixed: bool = False
) -> tuple[Watch, Trainer]:
    """Train a stage for a number of short epochs under a watch that is given its first batch."""
    data = create_data(config)
    module = create_module(config, data, {})
    batch = next(iter(data.train_dataloader()))
    callback = watch(batch)
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        config.trainer = {**config.trainer, "max_epochs": epochs, "limit_train_batches": STEPS, "limit_val_batches": 1}
        config.callbacks = {name: config.callbacks[name] for name in ("best", "last")}
        trainer = create_trainer(config, [callback])
        if fixed:
            same: Any = [batch] * STEPS
            trainer.fit(module, DataLoader(same, batch_size=None), DataLoader(same, batch_size=None))
        else:
            trainer.fit(module, data)
    return callback, trainer


def _rounds(data: Path, name: str, fixed: bool) -> list[dict[str, Any]]:
    config = compose_stage(data, name)
    turns, trainer = train(config, Turns, ROUNDS + 1, fixed)
    assert isinstance(turns, Turns)
    samples = STEPS * len(turns.batch["label"])
    return [
        {
            "stage": f"{name}, one batch" if fixed else name,
            "precision": trainer.precision,
            "stage samples/s": samples / stage,
            "bare samples/s": samples / bare,
            "ratio": bare / stage,
        }
        for stage, bare in list(zip(turns.stage, turns.bare, strict=True))[1:]  # the first warms up
    ]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
