"""From a file to its result on the page, by the code of `actionrec predict`."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from actionrec.networks.streams import MultiStream
from actionrec.page import pictures
from actionrec.page.pictures import Seen
from actionrec.prediction import output, pipeline, windows
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.loading import Loaded
from actionrec.prediction.pipeline import Failed, Scored, Windowing
from actionrec.prediction.reading import Job, Reader, Sample, measure
from actionrec.prediction.run import segmentation_of, windowing_of
from actionrec.prediction.sources import is_image
from actionrec.prediction.windows import Segment, Window
from actionrec.storage.video import read_image
from actionrec.streams.transforms import View
from actionrec.system.errors import ActionRecError

FUSION = "fusion"
Ticks = Callable[[int], None]  # is told how many frames will be read, at the beginning


class Part(NamedTuple):
    """A window, or the whole file, with the answers of the network and of its streams.

    Args:
        span: in seconds.
        answers: probabilities (K,) by `FUSION` or the name of a stream.
        label: the action; None for none of them.
        seen: the input of the network.
    """

    span: Window
    answers: dict[str, np.ndarray]
    label: int | None
    seen: Seen

    @property
    def best(self) -> tuple[int, float]:
        """The most probable action, and its probability."""
        label = int(self.answers[FUSION].argmax())
        return label, float(self.answers[FUSION][label])


class Result(NamedTuple):
    """The result for a file, which the page shows.

    Args:
        loaded: the network.
        lock: see `networks.Networks.lock`.
        whole: the file as a whole; None for a video that is predicted by windows only.
        parts: windows in the order of time; empty for an image and a short clip.
        segments: of the windows.
        top: number of likeliest actions.
    """

    loaded: Loaded
    lock: threading.Lock
    whole: Part | None
    parts: list[Part]
    segments: list[Segment]
    top: int

    @property
    def size(self) -> int:
        """Bytes in memory, without the network."""
        return sum(part.seen.size for part in [*self.parts, *([self.whole] if self.whole else [])])

    @property
    def first(self) -> int:
        """Number of the part to show first, see `view`: the whole file, or else the most confident window."""
        return -1 if self.whole else max(range(len(self.parts)), key=lambda each: self.parts[each].best[1])


class Recorder(Reader):
    """A reader that notes the window of each sample, and keeps the network's input in the middle of each window.

    It shares the state of another reader, so the two cannot read at the same time.
    """

    def __init__(self, reader: Reader):
        self.__dict__.update(vars(reader))
        self.of_window: list[int] = []  # of each sample, in order
        self.seen: dict[int, Seen] = {}
        self._instants: Counter[int] = Counter()
        self._central = min(range(len(self.views)), key=lambda each: _off_centre(self.views[each]))

    def samples(self, job: Job) -> Iterator[Sample]:
        first = len(self.of_window)
        middle = self._instants[job.window] == len(self.fractions) // 2
        self._instants[job.window] += 1
        for sample in super().samples(job):
            if middle and len(self.of_window) - first == self._central:
                nearest = min(job.held, key=lambda index: abs(index - job.instant))
                frame = pictures.jpeg(pictures.small(job.held[nearest].stored))
                self.seen[job.window] = Seen(frame, sample.inputs)
            self.of_window.append(sample.window)
            yield sample

    def image(self, path: Path) -> Iterator[Sample]:
        for sample in super().image(path):
            if len(self.of_window) == self._central:
                self.seen[0] = Seen(pictures.jpeg(pictures.small(read_image(path))), sample.inputs)
            self.of_window.append(sample.window)
            yield sample


def look(
    path: Path, loaded: Loaded, lock: threading.Lock, config: DictConfig, tick: Callable[[], None], begin: Ticks
) -> Result:
    """Predict a file.

    A video of up to `window.clip_seconds` is predicted as a whole, as `actionrec predict` does it, and besides in
    windows, if it is long enough for two. A longer one is predicted in windows only.

    Args:
        path: a video or an image.
        loaded: the network.
        lock: see `networks.Networks.lock`.
        config: of `conf/app.yaml`.
        tick: called for each frame that is decoded.
        begin: called once, with the number of these calls.

    Raises:
        ActionRecError: the file cannot be decoded, is too short for a sample, or is longer than `max_seconds`.
    """
    windowing = windowing_of(config.window)
    if is_image(path):
        begin(0)
        whole, _ = _pass(path, loaded, lock, config, windowing._replace(use=False), tick)
        return Result(loaded, lock, whole[0], [], [], config.top)
    length = measure(path, config.max_seconds)
    if not length:
        raise ActionRecError(f"the video is longer than {config.max_seconds:g} seconds; cut it")
    as_whole = windowing.use is False or (windowing.use is None and length.duration <= windowing.clip_seconds)
    number = windows.count(length.duration, windowing.seconds, windowing.hop)
    in_windows = number > 1 or not as_whole
    begin(length.frames * (as_whole + in_windows))
    whole = _pass(path, loaded, lock, config, windowing._replace(use=False), tick)[0] if as_whole else []
    parts: list[Part] = []
    segments: list[Segment] = []
    if in_windows:
        parts, segments = _pass(path, loaded, lock, config, windowing._replace(use=True), tick)
    return Result(loaded, lock, whole[0] if whole else None, parts, segments, config.top)


def _pass(
    path: Path, loaded: Loaded, lock: threading.Lock, config: DictConfig, windowing: Windowing, tick: Callable[[], None]
) -> tuple[list[Part], list[Segment]]:
    recorder = Recorder(loaded.reader)
    logits: dict[str, list[Tensor]] = {}

    def network(batch: dict[str, Any]) -> Tensor:
        with lock, heard(loaded) as streams:
            found = loaded.network(batch)
        for name, each in streams.items():
            logits.setdefault(name, []).append(each.float().cpu())
        return found

    [scored] = pipeline.predict([path], recorder, network, windowing, config.batch_size, tick)
    if isinstance(scored, Failed):
        raise ActionRecError(scored.reason)
    always = config.reject == "off"
    segmentation = segmentation_of(config.window, loaded.calibration.threshold, loaded.actions, always)
    fused = output.course(scored, loaded.calibration, windowing, segmentation)
    answers = {FUSION: fused.probabilities}
    of_window = torch.tensor(recorder.of_window)
    inside = of_window < len(scored.logits)
    for name, rows in logits.items():
        own = pipeline.averaged(of_window[inside], torch.cat(rows)[inside])
        answers[name] = output.course(
            Scored(path, own, *scored[2:]), Calibration(), windowing, segmentation
        ).probabilities
    labels = _labels(fused.parts, fused.segments or [])
    if fused.segments is None:
        labels = [None if fused.rejected else int(fused.probabilities[0].argmax())]
    parts = [
        Part(span, {name: rows[number] for name, rows in answers.items()}, labels[number], recorder.seen[number])
        for number, span in enumerate(fused.parts)
    ]
    return parts, fused.segments or []


@contextmanager
def heard(loaded: Loaded) -> Iterator[dict[str, Tensor]]:
    """Record the logits (B, K) of each stream of a fusion while the network computes a batch; empty for one stream.

    Streams whose heads the fusion does not use are computed a second time.
    """
    found: dict[str, Tensor] = {}
    network = loaded.module.network if loaded.module else None
    if not isinstance(network, MultiStream):
        yield found
        return

    def note(name: str) -> Callable[..., None]:
        return lambda stream, inputs, logits: found.update({name: logits})

    def complete(network: Any, inputs: tuple[Tensor | None, ...], logits: Tensor) -> None:
        for name, each in zip(network.names, inputs, strict=True):
            if each is not None and name not in found:
                found[name] = network.streams[name](each)

    hooks = [stream.register_forward_hook(note(name)) for name, stream in network.streams.items()]
    hooks.append(network.register_forward_hook(complete))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _labels(parts: list[Window], segments: list[Segment]) -> list[int | None]:
    middles = [(each.start + each.end) / 2 for each in parts]
    return [next((each.label for each in segments if each.start <= middle < each.end), None) for middle in middles]


def _off_centre(view: View) -> float:
    aside = 0.0 if view.square is None else abs(view.square - 0.5)
    return abs(view.left + view.width / 2 - 0.5) + abs(view.top + view.height / 2 - 0.5) + aside
