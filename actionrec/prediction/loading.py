"""Loading of a network for prediction: a checkpoint, a run's best one, or an exported file, and its calibration."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from actionrec.modules import exported
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import load_module, read
from actionrec.networks.streams import MultiStream
from actionrec.prediction import calibration, pipeline
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.reading import Reader
from actionrec.runs import measurements
from actionrec.runs.folder import RunFolder
from actionrec.settings.composition import plain
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256
from actionrec.system.hardware import disable_malloc_trim, fast_precision, share_heap

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A checkpoint, and the folder of its run; None if the checkpoint lies elsewhere."""

    checkpoint: Path
    run: Path | None


def place_of(config: DictConfig) -> Place:
    """The checkpoint that `checkpoint` names, as a file or as the run's folder.

    Raises:
        ActionRecError: no checkpoint is named, or the folder is no finished run.
    """
    if OmegaConf.is_missing(config, "checkpoint"):
        raise ActionRecError(
            "say which network: its run or checkpoint is the first word, before source=<video, image or folder>"
        )
    path = Path(config.checkpoint)
    if path.is_dir():
        best = RunFolder(path).best
        if not best.is_file():
            raise ActionRecError(f"{path} has no checkpoints/{best.name}; name the folder of a finished run")
        return Place(best, path)
    in_run = path.parent.name == "checkpoints" and path.name == "best.ckpt"
    return Place(path, path.parents[1] if in_run else None)


class Loaded(NamedTuple):
    """A checkpoint's network with all that a prediction needs.

    Args:
        network: from batches to logits.
        reader: of the samples, with the views whose scores are averaged.
        actions: names of the labels.
        calibration: of the probabilities.
        module: the network itself, on its device; None for an exported one.
        inputs: of the lineage, with the streams that the logits depend on.
    """

    network: pipeline.Network
    reader: Reader
    actions: tuple[str, ...]
    calibration: Calibration
    module: ActionModule | None
    inputs: Mapping[str, Any]


def load(config: DictConfig, place: Place, made: Calibration | None = None) -> Loaded:
    """Load the network, with the views, the precision and the calibration of its run.

    Args:
        config: of predict.
        place: of the network.
        made: the calibration; None takes the one beside the checkpoint, and `reject`.

    Raises:
        ActionRecError: there is no such checkpoint, or it is not one of this project.
    """
    if exported.is_exported(place.checkpoint):
        return _load_exported(config, place.checkpoint)
    trust = plain(config)["trust"]
    checkpoint = read(place.checkpoint, "checkpoint", trust)
    module = load_module(place.checkpoint, checkpoint)
    inputs = checkpoint["lineage"]["inputs"]
    if isinstance(module.network, MultiStream):  # a gate may leave streams out, whose inputs need not be made
        inputs = {**inputs, "streams": {name: inputs["streams"][name] for name in module.network.used}}
    reader = reader_of(config, inputs, measured_views(place.run))
    network = create_network(module, config.accelerator, precision_of(config, place.run))
    if made:
        return Loaded(network, reader, module.actions, made, module, inputs)
    path = place.checkpoint.parent / calibration.FILE
    found = calibration.load(path, sha256(place.checkpoint)) if path.is_file() else None
    return Loaded(network, reader, module.actions, _calibration(config, found, path), module, inputs)


def _load_exported(config: DictConfig, path: Path) -> Loaded:
    if config.accelerator not in ("auto", "cpu"):
        raise ActionRecError(f"accelerator={config.accelerator}: exported networks run on the CPU; use cpu")
    if config.precision:
        raise ActionRecError(f"precision={config.precision}: an exported network has its own; leave precision out")
    module = exported.load(path, "checkpoint", plain(config)["trust"])
    said = module.description
    found = calibration.of(said.calibration, path, said.checkpoint) if said.calibration else None
    reader = reader_of(config, said.inputs, said.views)
    return Loaded(module, reader, module.actions, _calibration(config, found, path), None, said.inputs)


def measured_views(run: Path | None) -> dict[str, int]:
    """`segments` and `crops` of a run's measurement; 1 where they are not recorded."""
    protocol = _protocol(run)  # which may come from a stranger
    measured = {key: protocol.get(key) for key in ("segments", "crops")}
    return {key: value if type(value) is int else 1 for key, value in measured.items()}


def _protocol(run: Path | None) -> measurements.Protocol:
    record = measurements.read(run) if run else {}
    return record.get("test") or record.get("val") or {}


def precision_of(config: DictConfig, run: Path | None) -> str:
    """The precision of the settings, else of a run's measurement, else a fast one of the device."""
    return str(config.precision or _protocol(run).get("precision") or fast_precision(config.accelerator))


def reader_of(config: DictConfig, inputs: Mapping[str, Any], measured: Mapping[str, int]) -> Reader:
    """A reader with the views of a measurement, unless the command line has others."""
    given = {str(key): config.views[key] for key in config.views if not OmegaConf.is_missing(config.views, key)}
    return Reader(inputs, **{**measured, **given}, trust=plain(config)["trust"])


def create_network(module: nn.Module, accelerator: str, precision: str) -> pipeline.Network:
    """Create a function from batches to a module's outputs, which computes as Lightning's Trainer does in a test.

    Raises:
        ActionRecError: the machine lacks the accelerator, or there is no such precision.
    """
    disable_malloc_trim()
    share_heap()
    try:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
        network = fabric.setup_module(module.eval())
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ActionRecError(
            f"accelerator={accelerator} precision={precision}: {reason}; use accelerator=cpu precision=32-true"
        ) from None

    def output(batch: dict[str, Any]) -> Tensor:
        with torch.inference_mode():
            return network(fabric.to_device(batch)).float().cpu()

    return output


def _calibration(config: DictConfig, found: Calibration | None, path: Path) -> Calibration:
    """The calibration that `reject` asks for; the log says which one it is.

    Args:
        config: the settings.
        found: of the network; None without one.
        path: the file that it is from.
    """
    made = found or Calibration()
    source = f"temperature {made.temperature:.3f} from {path}" if found else "no calibration"
    if config.reject == "auto" and not found:
        log.info("reject=auto: the network has no calibration, so it never answers none of these; see calibrate=true")
        return made
    if config.reject != "auto":
        made = made._replace(threshold=0.0 if config.reject == "off" else float(config.reject))
    if not made.threshold:
        log.info("reject=off: %s", source)
        return made
    log.info("reject=%s: below %.3f it is none of these; %s", config.reject, made.threshold, source)
    return made
