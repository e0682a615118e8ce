"""`actionrec predict`: from its settings to predictions, and to the calibration of a run."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from actionrec.evaluation import scores
from actionrec.modules import exported
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import load_module, read
from actionrec.networks.streams import MultiStream
from actionrec.prediction import annotate, calibration, output, pipeline, sources
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.live import Watch
from actionrec.prediction.output import Answer, Segmentation
from actionrec.prediction.pipeline import Failed, Windowing
from actionrec.prediction.reading import Reader
from actionrec.prediction.watch import Watcher, watch
from actionrec.runs import measurements
from actionrec.runs.folder import RunFolder
from actionrec.settings.composition import plain
from actionrec.settings.rules import require
from actionrec.settings.values import one_of
from actionrec.storage.cameras import is_address
from actionrec.storage.video import probe
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256, write_text
from actionrec.system.gauges import counting
from actionrec.system.hardware import disable_malloc_trim, fast_precision

log = logging.getLogger(__name__)

# FFmpeg's own lines about damaged files name no file. OpenCV reads the variable when it opens the first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET

ENTER, STAY = 0.5, 0.7  # default of window.enter without a threshold, and of window.leave as a share of window.enter


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
        raise ActionRecError("say which network: actionrec predict <run or checkpoint> source=<video, image or folder>")
    path = Path(config.checkpoint)
    if path.is_dir():
        best = RunFolder(path).best
        if not best.is_file():
            raise ActionRecError(f"{path} has no checkpoints/{best.name}; name the folder of a finished run")
        return Place(best, path)
    in_run = path.parent.name == "checkpoints" and path.name == "best.ckpt"
    return Place(path, path.parents[1] if in_run else None)


def predict_sources(config: DictConfig) -> None:
    """Predict the files of `source`, and print or write the predictions.

    Raises:
        ActionRecError: a setting is wrong, or files could not be predicted: the log names them, and all others are
            predicted.
    """
    place = place_of(config)
    source = plain(config)["source"]
    if source is None:
        raise ActionRecError("say what to predict: source=<video, image, folder, pattern, list.txt, camera or address>")
    if config.out and Path(config.out).is_dir():
        raise ActionRecError(f"out={config.out} is a folder; name a file")
    form = _format(config)
    terminal.doing("loading the network")
    found = load(config, place)
    if isinstance(source, str) and is_address(source):
        _watch(config, found, source, form)
    else:
        _predict_files(config, found, source, form)


def _watch(config: DictConfig, found: "Loaded", source: str, form: str) -> None:
    """Predict a camera or a network stream."""
    if config.annotate:
        raise ActionRecError(f"annotate={config.annotate} needs files, which are read twice; record the stream first")
    windowing, segmentation = _segmentation(config, found)
    watcher = Watcher(found.reader, found.network, found.calibration, windowing, segmentation, config.batch_size)
    terminal.doing(f"connecting to {source}")
    stream = Watch(source, found.reader, windowing, float(config.timeout), config.reconnect)
    watch(stream, watcher, found.actions, form, config.out)


def _segmentation(config: DictConfig, found: "Loaded") -> tuple[Windowing, Segmentation]:
    always = config.reject == "off"
    return windowing_of(config.window), segmentation_of(config.window, found.calibration.threshold, always)


def _predict_files(config: DictConfig, found: "Loaded", source: str | Sequence[str], form: str) -> None:
    paths = sources.find(source, found.reader.of_stills)
    drawn = annotate.targets(config.annotate, paths) if config.annotate else {}
    windowing, segmentation = _segmentation(config, found)
    answers: list[Answer] = []
    failed: list[Failed] = []
    finished, stopped = 0, None
    announced = {path: _frames(path) * (2 if drawn else 1) for path in paths}  # drawing reads a file again
    with counting("predicting", "frames", sum(announced.values())) as bar:

        def tick() -> None:
            bar.done += 1

        try:
            for each in pipeline.predict(paths, found.reader, found.network, windowing, config.batch_size, tick):
                if isinstance(each, Failed):
                    failed.append(each)
                else:
                    course = output.course(each, found.calibration, windowing, segmentation)
                    answers.append(output.answer(each, course, found.actions, config.top))
                    if drawn:
                        try:
                            annotate.annotate(
                                each.path, course, found.actions, found.reader.modalities, drawn[each.path], tick
                            )
                        except ActionRecError as error:
                            failed.append(Failed(each.path, str(error)))
                finished += announced[each.path]
                bar.done = max(bar.done, finished)  # a clip is read up to the last frame that its samples need
                bar.note = f"{len(answers) + len(failed)}/{len(paths)} files" if len(paths) > 1 else ""
        except (KeyboardInterrupt, SystemExit) as stop:  # SIGINT or SIGTERM
            stopped = stop
            log.warning("stopped after %d of %d files; a long video may be predicted in part", len(answers), len(paths))
    if answers:
        text = output.text(answers, found.actions, form)
        if config.out:
            write_text(Path(config.out), text + "\n")
            log.info("%d predictions in %s", len(answers), config.out)
        else:
            print(text, flush=True)
    if stopped:
        raise stopped
    if failed and len(paths) > 1:
        for each in failed:
            log.error("%s", each.reason)
        raise ActionRecError(f"{len(failed)} of {len(paths)} files could not be predicted; the lines above say why")
    if failed:
        raise ActionRecError(failed[0].reason)


def calibrate_run(config: DictConfig) -> None:
    """Fit temperature and threshold to a run's validation scores, and write both beside its checkpoint.

    Raises:
        ActionRecError: the run has no validation scores, or they are of other weights.
    """
    place = place_of(config)
    if not place.run:
        raise ActionRecError(f"calibrate=true needs the folder of a run, with its scores; {place.checkpoint} has none")
    found = scores.load(place.run / scores.FILES["val"])
    now = sha256(place.checkpoint)
    if (found.protocol or {}).get("checkpoint", now) != now:
        raise ActionRecError(f"the scores of {place.run} are of other weights; measure it with actionrec evaluate")
    made = calibration.calibrate(found.logits, found.labels, config.rate, now)
    path = place.checkpoint.parent / calibration.FILE
    calibration.save(made, path)
    print(
        f"temperature {made.temperature:.3f}, threshold {made.threshold:.3f} from {made.n} validation samples; "
        f"the threshold rejects {made.rate:.1%} of the right answers at most\n{path}"
    )


class Loaded(NamedTuple):
    """What a checkpoint needs to predict."""

    network: pipeline.Network
    reader: Reader
    actions: tuple[str, ...]
    calibration: Calibration


def load(config: DictConfig, place: Place) -> Loaded:
    """Load the network, with the views, the precision and the calibration of its run.

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
    reader = _reader(config, inputs, measured_views(place.run))
    precision = config.precision or _protocol(place.run).get("precision") or fast_precision(config.accelerator)
    network = create_network(module, config.accelerator, str(precision))
    path = place.checkpoint.parent / calibration.FILE
    found = calibration.load(path, sha256(place.checkpoint)) if path.is_file() else None
    return Loaded(network, reader, module.actions, _calibration(config, found, path))


def _load_exported(config: DictConfig, path: Path) -> Loaded:
    if config.accelerator not in ("auto", "cpu"):
        raise ActionRecError(f"accelerator={config.accelerator}: exported networks run on the CPU; use cpu")
    if config.precision:
        raise ActionRecError(f"precision={config.precision}: an exported network has its own; leave precision out")
    module = exported.load(path, "checkpoint", plain(config)["trust"])
    said = module.description
    found = calibration.of(said.calibration, path, said.checkpoint) if said.calibration else None
    reader = _reader(config, said.inputs, said.views)
    return Loaded(module, reader, module.actions, _calibration(config, found, path))


def measured_views(run: Path | None) -> dict[str, int]:
    """`segments` and `crops` of a run's measurement; 1 where they are not recorded."""
    protocol = _protocol(run)  # which may come from a stranger
    measured = {key: protocol.get(key) for key in ("segments", "crops")}
    return {key: value if type(value) is int else 1 for key, value in measured.items()}


def _protocol(run: Path | None) -> measurements.Protocol:
    record = measurements.read(run) if run else {}
    return record.get("test") or record.get("val") or {}


def _reader(config: DictConfig, inputs: Mapping[str, Any], measured: Mapping[str, int]) -> Reader:
    """A reader with the views of a measurement, unless the command line has others."""
    given = {str(key): config.views[key] for key in config.views if not OmegaConf.is_missing(config.views, key)}
    return Reader(inputs, **{**measured, **given}, trust=plain(config)["trust"])


def create_network(module: ActionModule, accelerator: str, precision: str) -> pipeline.Network:
    """Create a function from batches to logits, which computes as Lightning's Trainer does in a test.

    Raises:
        ActionRecError: the machine lacks the accelerator, or there is no such precision.
    """
    disable_malloc_trim()
    try:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
        network = fabric.setup_module(module.eval())
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ActionRecError(
            f"accelerator={accelerator} precision={precision}: {reason}; use accelerator=cpu precision=32-true"
        ) from None

    def logits(batch: dict[str, Any]) -> Tensor:
        with torch.inference_mode():
            return network(fabric.to_device(batch)).float().cpu()

    return logits


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


def windowing_of(window: DictConfig) -> Windowing:
    """The windows that `conf/window/` asks for."""
    use = None if window.use == "auto" else bool(window.use)
    return Windowing(use, float(window.seconds), float(window.hop), float(window.clip_seconds))


def segmentation_of(window: DictConfig, threshold: float, always: bool = False) -> Segmentation:
    """How `conf/window/` makes segments of windows.

    Args:
        window: the settings.
        threshold: of the calibration, 0 without one.
        always: whether every window has an action if `window.enter` is not set.

    Raises:
        ActionRecError: an action would end at a higher probability than it begins.
    """
    enter = float(window.enter if window.enter is not None else 0.0 if always else threshold or ENTER)
    leave = float(window.leave if window.leave is not None else STAY * enter)
    if leave > enter:
        raise ActionRecError(f"window.leave={leave:g}: use at most window.enter={enter:g}")
    return Segmentation(float(window.smooth), enter, leave, float(window.least))


def _format(config: DictConfig) -> str:
    """One of `output.FORMATS`."""
    require("format", config.format, one_of(*output.FORMATS, None))
    suffix = Path(config.out).suffix.lower().lstrip(".") if config.out else ""
    return config.format or (suffix if suffix in output.FORMATS else "table")


def _frames(path: Path) -> int:
    """Number of frames that a file announces, for the progress bar; 0 if the file cannot be read."""
    try:
        return 0 if sources.is_image(path) else probe(path).frames
    except (ActionRecError, OSError):
        return 0
