"""From files to scores: files are read in a thread, and a network takes their samples in batches."""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple, TypeVar

import cv2
import torch
from torch import Tensor

from actionrec.datamodules.base import collate
from actionrec.evaluation.scores import average_views
from actionrec.prediction import sources, windows
from actionrec.prediction.reading import Length, Reader, Sample, Video, measure
from actionrec.settings.messages import is_users, one_line
from actionrec.system.errors import ActionRecError

AHEAD = 2  # batches that are read while the network computes

Network = Callable[[dict[str, Any]], Tensor]  # a batch → logits (B, K), or features (B, F), float32 on the CPU
Average = Callable[[Tensor, Tensor], Tensor]  # numbers of windows (V,), and rows (V, K) of views → rows of windows
Item = TypeVar("Item")


class Windowing(NamedTuple):
    """Which videos are cut into windows, and into which windows.

    Args:
        use: whether videos are cut; None cuts videos of more than `clip_seconds`.
        seconds, hop: see `windows.endless`.
        clip_seconds: longest video that is predicted as a whole, if `use` is None.
    """

    use: bool | None = None
    seconds: float = 2.0
    hop: float = 0.5
    clip_seconds: float = 10.0


class Scored(NamedTuple):
    """Scores of one file.

    Args:
        path: the file.
        logits: (N, K) float32: of the N windows, or of the whole file (N = 1); or features (N, F).
        length: of a video; None for an image.
        windowed: whether the rows are windows.
    """

    path: Path
    logits: Tensor
    length: Length | None
    windowed: bool


class Failed(NamedTuple):
    """A file without scores, and why, in one line."""

    path: Path
    reason: str


class _End(NamedTuple):
    """The end of a file's samples; samples of windows from number `windows` on are left out."""

    number: int
    length: Length | None = None
    windowed: bool = False
    windows: int = 1
    reason: str = ""


def predict(
    paths: Sequence[Path | Video],
    reader: Reader,
    network: Network,
    windowing: Windowing,
    batch_size: int,
    tick: Callable[[], None] = lambda: None,
    average: Average | None = None,
) -> Iterator[Scored | Failed]:
    """Predict files in their order; a file that fails does not stop the others.

    After an interruption (SIGINT, SIGTERM) that finds this generator at work, the windows of a long video that are
    done are yielded before the exception is raised again.

    Args:
        paths: files of videos and images; a `Video` has no file, and is always cut into windows.
        reader: makes the samples.
        network: see `Network`.
        windowing: of the videos.
        batch_size: samples per batch; a batch may have samples of several files.
        tick: called for each frame that is decoded, in the reading thread.
        average: of the views of a window; None takes `averaged`.
    """
    average = average or averaged
    found: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)  # numbers of windows, and logits, by file
    read = _read_all(paths, reader, windowing, tick)
    try:
        for samples, ends in ahead(_batches(read, batch_size), AHEAD):
            if samples:
                logits = network(collate([sample.inputs for _, sample in samples]))
                numbers = torch.tensor([number for number, _ in samples])
                of_window = torch.tensor([sample.window for _, sample in samples])
                for number in numbers.unique().tolist():
                    found[number].append((of_window[numbers == number], logits[numbers == number]))
            for end in ends:
                own = found.pop(end.number, [])
                path = _path(paths[end.number])
                yield Failed(path, end.reason) if end.reason else _scored(path, own, end, average)
    except (KeyboardInterrupt, SystemExit):
        for number, own in found.items():
            if done := _done(own, len(reader.fractions) * len(reader.views)):
                duration = (done - 1) * windowing.hop + windowing.seconds
                end = _End(number, Length(0, duration), True, done)
                yield _scored(_path(paths[number]), own, end, average)
        raise


def _path(source: Path | Video) -> Path:
    return Path(source.name) if isinstance(source, Video) else source


def _scored(path: Path, own: Sequence[tuple[Tensor, Tensor]], end: _End, average: Average) -> Scored:
    of_window, logits = (torch.cat(each) for each in zip(*own, strict=True))
    inside = of_window < end.windows  # the other windows reach beyond the end of the video
    return Scored(path, average(of_window[inside], logits[inside]), end.length, end.windowed)


def _done(own: Sequence[tuple[Tensor, Tensor]], views: int) -> int:
    """Number of windows from the first one on that have the scores of all views."""
    counts = torch.bincount(torch.cat([of_window for of_window, _ in own]))
    missing = (counts < views).nonzero()
    return int(missing[0]) if len(missing) else len(counts)


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Yield items that a thread takes from `items`, up to `depth` items before they are wanted.

    An exception of `items` is raised in its place. When this generator is closed, the thread takes no further item.
    """
    queue: Queue[tuple[bool, Any]] = Queue(depth)
    stopped = threading.Event()

    def fill() -> None:
        try:
            for item in items:
                queue.put((True, item))
                if stopped.is_set():
                    return
            queue.put((False, None))
        except BaseException as error:
            queue.put((False, error))

    thread = threading.Thread(target=fill, name="reading", daemon=True)
    thread.start()
    try:
        while True:
            more, item = queue.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stopped.set()
        while thread.is_alive():  # the thread may wait for room in the queue
            while not queue.empty():
                queue.get_nowait()
            thread.join(timeout=0.01)


def averaged(of_window: Tensor, logits: Tensor) -> Tensor:
    """Logits (N, K) of windows from the logits (V, K) of their views, averaged as an evaluation averages views."""
    names = [str(number) for number in of_window.tolist()]
    labels = torch.zeros(len(names), dtype=torch.int64)
    return average_views(names, logits, labels, (), dict.fromkeys(names, "")).logits


def _batches(
    items: Iterable[tuple[int, Sample] | _End], size: int
) -> Iterator[tuple[list[tuple[int, Sample]], list[_End]]]:
    """Batches of samples, each with the files that have ended when the batch is done."""
    samples: list[tuple[int, Sample]] = []
    ends: list[_End] = []
    for item in items:
        if isinstance(item, _End):
            ends.append(item)
        else:
            samples.append(item)
        if len(samples) == size:
            yield samples, ends
            samples, ends = [], []
    if samples or ends:
        yield samples, ends


def _read_all(
    paths: Sequence[Path | Video], reader: Reader, windowing: Windowing, tick: Callable[[], None]
) -> Iterator[tuple[int, Sample] | _End]:
    for number, path in enumerate(paths):
        try:
            for each in _read(number, path, reader, windowing, tick):
                yield each if isinstance(each, _End) else (number, each)
        except cv2.error as error:
            yield _End(number, reason=f"{path} cannot be read ({error.err}); leave it out")
        except Exception as error:
            if not is_users(error):
                raise
            reason = one_line(error)
            yield _End(number, reason=reason if str(_path(path)) in reason else f"{path}: {reason}")


def _read(
    number: int, path: Path | Video, reader: Reader, windowing: Windowing, tick: Callable[[], None]
) -> Iterator[Sample | _End]:
    if isinstance(path, Path):
        sources.check(path)
        if sources.is_image(path):
            yield from reader.image(path)
            yield _End(number)
            return
        limits = {None: windowing.clip_seconds, True: windowing.seconds, False: math.inf}
        if length := measure(path, limits[windowing.use]):
            yield from reader.clip(path, length.frames, tick)
            yield _End(number, length, windowed=bool(windowing.use))
            return
    for each in reader.windows(path, windowing.seconds, windowing.hop, tick):
        if isinstance(each, Length):
            length = each
        else:
            yield each
    assert length
    count = windows.count(length.duration, windowing.seconds, windowing.hop)
    if not count:
        if isinstance(path, Video):
            raise ActionRecError(f"{path.name} has {length.duration:.1f} s; lower window.seconds={windowing.seconds:g}")
        # A damaged file, of which `measure` has believed the container.
        raise ActionRecError(f"{path} has {length.duration:.1f} s, far less than it announces; use window=false")
    yield _End(number, length, windowed=True, windows=count)
