"""Measuring a network on parts of its data: metrics, scores, and a record of how they came about."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from actionrec.settings.untrusted import UnfitError, either, integer, mapping_of, one_of, read_json, text
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import write_json

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from lightning import Trainer

    from actionrec.datamodules.base import ActionDataModule
    from actionrec.modules.base import ActionModule

FILE = "measurement.json"  # by part, the protocol of the scores beside it
FURTHER = "measurements"  # below a run, those of other protocols than its own
VIEWS = ("segments", "crops", "position", "precision")  # of a protocol, all but the checkpoint

Protocol = Mapping[str, Any]


def create_trainer(config: DictConfig) -> "Trainer":
    """A trainer that measures: the configuration's, on one device, since several would pad the last batch."""
    from hydra.utils import instantiate

    from actionrec.callbacks import ProgressBar

    options = {
        "devices": 1,
        "strategy": "auto",
        "sync_batchnorm": False,
        "logger": False,
        "enable_checkpointing": False,
        "num_nodes": 1,
        "fast_dev_run": False,  # these are the training's; a measurement sees the whole part
        "overfit_batches": 0.0,
        "limit_test_batches": 1.0,
        "callbacks": [ProgressBar()],
        "profiler": None,
        "default_root_dir": os.devnull,  # under SLURM Lightning loads an hpc_ckpt that it finds there over the weights
    }
    return instantiate(config.trainer, **options)


def protocol_of(trainer: "Trainer", data: "ActionDataModule", checkpoint: str, part: str) -> dict[str, Any]:
    """How a trainer measures a checkpoint, given by its sha256, on a part of that data.

    `names` is a hash of the samples' names, by which a measurement of other data is told.
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
    module: "ActionModule",
    data: "ActionDataModule",
    folder: Path,
    protocols: Mapping[str, Protocol],
) -> dict[str, Any]:
    """Metrics of a module on parts of its data, with intervals and tables for the test.

    The scores and `measurement.json` go to `folder`.

    Args:
        trainer: see `create_trainer`.
        module: with the weights of the checkpoint.
        data: set up.
        folder: of the results.
        protocols: by part, see `protocol_of`.
    """
    from actionrec.callbacks import ProgressBar
    from actionrec.evaluation import metrics, scores

    measured: dict[str, Any] = {}
    for part, protocol in protocols.items():
        for bar in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(bar, ProgressBar):
                bar.part = part
        trainer.test(module, dataloaders=data.scoring_dataloader(part), verbose=False)
        terminal.doing(f"computing the metrics of {part}")
        found = scores.average_views(*module.tested(), module.actions, data.groups())
        scores.save(found._replace(protocol=protocol), folder / scores.FILES[part])
        if part != "train":  # the network was fitted to it; train/ is the average over the last epoch's steps
            measured |= metrics.measure(found, part)
        if part == "test":
            measured |= metrics.intervals(found, part) | metrics.tables(found, part)
    record = {**read(folder), **protocols}
    write_json(folder / FILE, record)
    return measured


def read(folder: Path) -> dict[str, Protocol]:
    """By part, the protocols that a folder's scores were measured by; empty where that is not recorded.

    Raises:
        ActionRecError: the record is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    content = read_json(path)
    value = either(one_of(None), integer(0, 10_000), text(200, resolved=False))
    try:
        mapping_of(text(20), mapping_of(text(100), value))(content, "")
    except UnfitError as error:
        raise ActionRecError(f"{path}: not the record of a measurement ({error}); remove that file") from None
    return content


def name(protocol: Protocol) -> str:
    """Of the folder of a further measurement, and for people: `10x3-middle-bf16-mixed`."""
    return "-".join(
        str(part) for part in (views(protocol), protocol.get("position"), protocol.get("precision")) if part
    )


def views(protocol: Protocol | None) -> str:
    """Segments by crops of a protocol, `5x1`; `?` where that is not recorded."""
    return f"{protocol.get('segments', '?')}x{protocol.get('crops', '?')}" if protocol else "?"


def same(one: Protocol, other: Protocol) -> bool:
    """Whether two protocols see the samples in the same way; a value that is not recorded fits any."""
    return not any(one.get(key) != other.get(key) for key in VIEWS if key in one and key in other)


def require_same(protocols: Mapping[str, Protocol | None]) -> None:
    """Raise unless scores, by the names of their networks, were measured in the same way.

    Positions may differ, since a stage of stills has none.
    """
    known = {network: found for network, found in protocols.items() if found}
    for network, found in known.items():
        first, reference = next(iter(known.items()))
        for key in ("segments", "crops", "precision"):
            if found.get(key) != reference.get(key):
                raise ActionRecError(
                    f"scores of {first} were measured with {key} {reference.get(key)}, those of {network} with "
                    f"{found.get(key)}; measure both in the same way with actionrec evaluate views.segments=… "
                    "views.crops=… trainer.precision=…"
                )
