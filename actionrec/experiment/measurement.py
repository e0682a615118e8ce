"""Measurement of a network on parts of its data: metrics, scores, and a record of the protocol."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from actionrec.runs import measurements
from actionrec.runs.measurements import Protocol
from actionrec.system import terminal
from actionrec.system.files import write_json

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from lightning import Trainer

    from actionrec.datamodules.base import ActionDataModule
    from actionrec.modules.measured import Measured


def create_trainer(config: DictConfig) -> "Trainer":
    """Create a trainer for measuring: the configuration's on one device, since several would pad the last batch."""
    from hydra.utils import instantiate

    from actionrec.callbacks import ProgressBar

    options = {
        "devices": 1,
        "strategy": "auto",
        "sync_batchnorm": False,
        "logger": False,
        "enable_checkpointing": False,
        "num_nodes": 1,
        "fast_dev_run": False,  # this and the next two options shorten a training; a measurement uses the whole part
        "overfit_batches": 0.0,
        "limit_test_batches": 1.0,
        "callbacks": [ProgressBar()],
        "profiler": None,
        "default_root_dir": os.devnull,  # under SLURM Lightning would load an hpc_ckpt from there over the weights
    }
    return instantiate(config.trainer, **options)


def protocol_of(trainer: "Trainer", data: "ActionDataModule", checkpoint: str, part: str) -> dict[str, Any]:
    """The protocol of a measurement: a checkpoint's sha256, a hash of the samples' names, views and precision.

    The hash of the names distinguishes measurements on different data.
    """
    names = "\n".join(sorted(data.names(part)))
    return {
        "checkpoint": checkpoint,
        "names": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16],
        "segments": getattr(data, "segments", 1),
        "crops": len(data.views),
        "position": data.inputs.get("position"),
        "precision": str(trainer.precision),
    }


def measure(
    trainer: "Trainer",
    module: "Measured",
    data: "ActionDataModule",
    folder: Path,
    protocols: Mapping[str, Protocol],
) -> dict[str, Any]:
    """Measure a module on parts of its data; returns metrics, with intervals and tables for the test part.

    The scores and `measurement.json` go to `folder`. On other parts than the test, of bagged streams only the first
    network answers, since the others were trained on the validation clips.

    Args:
        trainer: see `create_trainer`.
        module: with the weights of the checkpoint.
        data: set up.
        folder: of the results.
        protocols: by part, see `protocol_of`.
    """
    from actionrec.callbacks import ProgressBar
    from actionrec.evaluation import background, metrics, scores
    from actionrec.networks.stream import Bagged

    measured: dict[str, Any] = {}
    for part, protocol in protocols.items():
        for bar in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(bar, ProgressBar):
                bar.part = part
        for stream in module.modules():
            if isinstance(stream, Bagged):
                stream.whole = part == "test"
        trainer.test(module, dataloaders=data.scoring_dataloader(part), verbose=False)
        terminal.doing(f"computing the metrics of {part}")
        found = scores.average_views(*module.test_outputs(), module.actions, data.groups())
        scores.save(found._replace(protocol=protocol), folder / scores.FILES[part])
        if part != "train":  # the tags train/… are the averages over the last epoch's steps
            measured |= metrics.measure(found, part) | background.measure(found, part)
        if part == "test":
            measured |= metrics.intervals(found, part) | metrics.tables(found, part)
    record = {**measurements.read(folder), **protocols}
    write_json(folder / measurements.FILE, record)
    return measured
