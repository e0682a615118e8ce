"""`actionrec predict`: from its settings to predictions."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from actionrec.datasets.actions import BACKGROUND
from actionrec.prediction import annotate, files, output, pipeline, sources
from actionrec.prediction.live import Watch
from actionrec.prediction.loading import Loaded, load, place_of
from actionrec.prediction.looks import Looks
from actionrec.prediction.output import Answer, Segmentation
from actionrec.prediction.pipeline import Failed, Scored, Windowing
from actionrec.prediction.watch import Watcher, watch
from actionrec.settings.composition import plain
from actionrec.settings.rules import require
from actionrec.settings.values import one_of
from actionrec.storage.cameras import is_address
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import require_writable, write_text

log = logging.getLogger(__name__)

ENTER, STAY = 0.5, 0.7  # default of window.enter without a threshold, and of window.leave as a share of window.enter


def predict_sources(config: DictConfig) -> None:
    """Predict the files of `source`, and print or write the predictions.

    Raises:
        ActionRecError: a setting is wrong, or files have failed: the log names them, and all others are predicted.
    """
    place = place_of(config)
    source = plain(config)["source"]
    if source is None:
        raise ActionRecError("name the input: source=<video, image, folder, pattern, list.txt, camera or address>")
    if config.out and Path(config.out).is_dir():
        raise ActionRecError(f"out={config.out} is a folder; name a file")
    for key in ("out", "annotate"):
        if config[key]:
            require_writable(Path(config[key]), key)
    form = _format(config)
    terminal.doing("loading the network")
    found = load(config, place)
    if isinstance(source, str) and is_address(source):
        _watch(config, found, source, form)
    else:
        _predict_files(config, found, source, form)


def _watch(config: DictConfig, found: Loaded, source: str, form: str) -> None:
    """Predict a camera or a network stream."""
    if config.annotate:
        raise ActionRecError(f"annotate={config.annotate} needs files, which are read twice; record the stream first")
    windowing, segmentation = _segmentation(config, found)
    watcher = Watcher(found.reader, found.network, found.calibration, windowing, segmentation, config.batch_size)
    terminal.doing(f"connecting to {source}")
    stream = Watch(source, found.reader, windowing, float(config.timeout), config.reconnect)
    watch(stream, watcher, found.actions, form, config.out)


def _segmentation(config: DictConfig, found: Loaded) -> tuple[Windowing, Segmentation]:
    always = config.reject == "off"
    made = segmentation_of(config.window, found.calibration.threshold, found.actions, always)
    return windowing_of(config.window), made


def _predict_files(config: DictConfig, found: Loaded, source: str | Sequence[str], form: str) -> None:
    paths = sources.find(source, found.reader.of_stills)
    drawn = annotate.targets(config.annotate, paths) if config.annotate else {}
    looks = _looks(config, found)
    windowing, segmentation = _segmentation(config, found)
    answers: list[Answer] = []

    def read(tick: files.Tick) -> Iterator[Scored | Failed]:
        return pipeline.predict(paths, found.reader, found.network, windowing, config.batch_size, tick)

    def take(scored: Scored, tick: files.Tick) -> None:
        course = output.course(scored, found.calibration, windowing, segmentation)
        answers.append(output.answer(scored, course, found.actions, config.top))
        if drawn:
            seen = looks.of(scored, course, windowing, tick) if looks else None
            target = drawn[scored.path]
            annotate.annotate(scored.path, course, found.actions, found.reader.modalities, target, tick, seen)

    passed = files.go_through(paths, read, take, readings=1 + bool(drawn) + bool(looks))
    if answers:
        text = output.text(answers, found.actions, form)
        if config.out:
            write_text(Path(config.out), text + "\n")
            log.info("%d predictions in %s", len(answers), config.out)
        else:
            print(text, flush=True)
    files.raise_failures(passed, len(paths))


def _looks(config: DictConfig, found: Loaded) -> Looks | None:
    """Grad-CAM for annotated copies; None if `grad_cam` does not ask for it.

    Raises:
        ActionRecError: there are no annotated copies, or the network is an exported one.
    """
    if not config.grad_cam:
        return None
    if not config.annotate:
        raise ActionRecError("grad_cam=true is for annotated copies; name one with annotate=<file or folder>")
    if not found.module:
        raise ActionRecError(
            f"grad_cam=true needs gradients, and {config.checkpoint} has none; name the run or its checkpoint"
        )
    return Looks(found.module, found.inputs, plain(config)["trust"])


def windowing_of(window: DictConfig) -> Windowing:
    """The windows that `conf/window/` asks for."""
    use = None if window.use == "auto" else bool(window.use)
    return Windowing(use, float(window.seconds), float(window.hop), float(window.clip_seconds))


def segmentation_of(window: DictConfig, threshold: float, actions: Sequence[str], always: bool = False) -> Segmentation:
    """How `conf/window/` makes segments of windows.

    Args:
        window: the settings.
        threshold: of the calibration, 0 without one.
        actions: names of the labels, of which background is none of the actions.
        always: whether every window has an action if `window.enter` is not set.

    Raises:
        ActionRecError: an action would end at a higher probability than it begins.
    """
    enter = float(window.enter if window.enter is not None else 0.0 if always else threshold or ENTER)
    leave = float(window.leave if window.leave is not None else STAY * enter)
    if leave > enter:
        raise ActionRecError(f"window.leave={leave:g}: use at most window.enter={enter:g}")
    none = actions.index(BACKGROUND) if BACKGROUND in actions else None
    return Segmentation(float(window.smooth), enter, leave, float(window.least), none)


def _format(config: DictConfig) -> str:
    """One of `output.FORMATS`."""
    require("format", config.format, one_of(*output.FORMATS, None))
    suffix = Path(config.out).suffix.lower().lstrip(".") if config.out else ""
    return config.format or (suffix if suffix in output.FORMATS else "table")
