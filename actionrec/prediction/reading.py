"""Samples of a network from a video or an image, read frame by frame."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from actionrec.datamodules.samples import StillDataset
from actionrec.datasets.records import Still
from actionrec.prediction import windows
from actionrec.prediction.feeds import ENDLESS, Decoded, Held, create_feed
from actionrec.storage.frames import frame_index
from actionrec.storage.video import Grabbed, iter_grabbed, probe, usable_rate
from actionrec.streams import create_all
from actionrec.streams.sampling import eval_fractions
from actionrec.streams.transforms import eval_views
from actionrec.system.errors import ActionRecError

_FAR_LONGER = 2.0  # factor by which a container's own duration may be wrong


class Sample(NamedTuple):
    """One view of one instant: a tensor `Modality.shape(S)` uint8 for each stream, by stream name.

    `window` is the number of the window; 0 for a clip or an image as a whole.
    """

    window: int
    inputs: dict[str, Tensor]


class Video(NamedTuple):
    """Frames that come one after the other, from a file or from elsewhere.

    Args:
        name: for messages.
        rate: frames a second, about.
        frames: in the order of time, which begins at 0.
    """

    name: str
    rate: float
    frames: Iterable[Grabbed]


class Job(NamedTuple):
    """An instant of a window whose frames are decoded.

    Args:
        window: number of the window; 0 for a clip as a whole.
        instant: index of the frame.
        n_frames: number of frames of the video; `ENDLESS` if the end is not read yet.
        needed: indices of the frames that the samples need, in ascending order; from job to job the first one does not
            fall.
        held: decoded frames, with the needed ones among them, until the next job is taken.
    """

    window: int
    instant: int
    n_frames: int
    needed: Sequence[int]
    held: Held


class Length(NamedTuple):
    """Number of frames of a video, and its duration in seconds, the display of the last frame included."""

    frames: int
    duration: float


def measure(path: Path, longest: float) -> Length | None:
    """Length of a video, by decoding it; None for a video of more than `longest` seconds.

    At most `longest` seconds are decoded, and nothing if the container announces a far longer video.

    Raises:
        ActionRecError: the file is missing, or none of its frames can be decoded.
    """
    container = probe(path)
    if 1 <= container.rate <= 1000 and container.frames / container.rate > _FAR_LONGER * longest:
        return None
    times = [0.0]
    for grabbed in iter_grabbed(path):
        times.append(grabbed.time)
        if grabbed.time > longest:
            return None
    return _length(len(times) - 1, times[-1], times[-2])


def _length(frames: int, last: float, before: float) -> Length:
    return Length(frames, last + (last - before if frames > 1 else 0.0))


class Reader:
    """Makes the samples that an evaluation makes, from files that belong to no data set, one file at a time.

    Args:
        inputs: of the checkpoint's lineage.
        segments: number of instants per clip or window whose scores are averaged.
        crops: number of views per instant whose scores are averaged.
        trust: see `feeds.create_feed`.

    Attributes:
        of_stills: whether images can be predicted.
        span: largest distance between the first and the last frame of a sample, in frames, plus one.
    """

    def __init__(self, inputs: Mapping[str, Any], segments: int, crops: int, trust: Sequence[str] = ()):
        self.modalities = create_all(inputs)
        self.size = int(inputs["size"])
        self.fractions = eval_fractions(inputs.get("position", "middle"), segments)
        self.views = eval_views(crops, inputs.get("region", "whole"))
        self.of_stills = all(modality.of_stills for modality in self.modalities.values())
        self.feeds = {name: create_feed(each, trust) for name, each in self.modalities.items()}
        self.span = max(feed.span for feed in self.feeds.values())

    def image(self, path: Path) -> Iterator[Sample]:
        """The views of an image.

        Raises:
            ActionRecError: a stream needs clips, or the file is no image.
        """
        if not self.of_stills:
            moving = next(each.label for each in self.modalities.values() if not each.of_stills)
            raise ActionRecError(f"{path}: the network sees {moving}, which needs a video; name videos")
        stills = StillDataset([Still(path, "")], {"": 0}, self.size, None, self.modalities, self.views)
        for index in range(len(stills)):
            sample = stills[index]
            yield Sample(0, {name: sample[name] for name in self.modalities})

    def clip(self, path: Path, n_frames: int, tick: Callable[[], None] = lambda: None) -> Iterator[Sample]:
        """The samples of a video as a whole, in one pass.

        Args:
            path: the video.
            n_frames: number of frames, see `measure`.
            tick: called for each frame that is decoded.

        Raises:
            ActionRecError: the video is too short for a sample, or shorter than `n_frames`.
        """
        self.forget_all()
        wanted = deque(sorted(frame_index(fraction, n_frames) for fraction in self.fractions))
        needed = {index for instant in wanted for index in self._needed(str(path), instant, n_frames)}
        held: dict[int, Decoded] = {}
        for index, frame in enumerate(iter_grabbed(path)):
            tick()
            if index in needed:
                held[index] = Decoded(frame.image())
            while wanted and (own := self._needed(str(path), wanted[0], n_frames))[-1] <= index:
                yield from self.samples(Job(0, wanted.popleft(), n_frames, own, held))
            if not wanted:
                return
            _drop(held, wanted[0] - self.span)
        raise ActionRecError(f"{path} became shorter while it was read; run the same command again")

    def windows(
        self, source: Path | Video, seconds: float, hop: float, tick: Callable[[], None] = lambda: None
    ) -> Iterator[Sample | Length]:
        """The samples of sliding windows over a video, in one pass; the last item is the length of the video.

        Samples of a window may come after samples of the next one. The last windows may reach beyond the end of the
        video, which is known at the end only, see `windows.count`. The number of frames in memory does not depend on
        the length of the video.

        Args:
            source: the video.
            seconds, hop: see `windows.endless`.
            tick: called for each frame that is decoded.

        Raises:
            ActionRecError: the video cannot be decoded.
        """
        self.forget_all()
        video = source if isinstance(source, Video) else Video(str(source), _rate(source), iter_grabbed(source))
        for each in self.jobs(video, seconds, hop, tick):
            if isinstance(each, Length):
                yield each
            else:
                yield from self.samples(each)

    def jobs(
        self, video: Video, seconds: float, hop: float, tick: Callable[[], None] = lambda: None
    ) -> Iterator[Job | Length]:
        """The instants of sliding windows over a video, without their samples; see `windows`."""
        period = 1 / video.rate
        coming = windows.endless(seconds, hop)
        ahead, started = next(coming), 0
        due: list[tuple[float, int]] = []  # heap of the instants, in seconds, whose frame is not known yet
        pending: deque[tuple[int, int]] = deque()  # frames of instants, and their windows
        held: dict[int, Decoded] = {}
        last = before = 0.0
        index = -1
        for index, frame in enumerate(video.frames):
            tick()
            while ahead.start <= frame.time:
                for instant in windows.instants(ahead, self.fractions, period):
                    heapq.heappush(due, (instant, started))
                ahead, started = next(coming), started + 1
            while due and due[0][0] < frame.time - windows.TOLERANCE:  # the frame before was on display
                pending.append((index - 1, heapq.heappop(due)[1]))
            held[index] = Decoded(frame.image())
            while pending and (needed := self._needed(video.name, pending[0][0], ENDLESS))[-1] <= index:
                instant, window = pending.popleft()
                yield Job(window, instant, ENDLESS, needed, held)
            _drop(held, (pending[0][0] if pending else index) - self.span)
            before, last = last, frame.time
        length = _length(index + 1, last, before)
        rest = ((index, heapq.heappop(due)[1]) for _ in range(len(due)))
        for instant, window in chain(pending, rest):
            if window < windows.count(length.duration, seconds, hop):
                yield Job(window, instant, length.frames, self._needed(video.name, instant, length.frames), held)
        yield length

    def samples(self, job: Job) -> Iterator[Sample]:
        """The views of an instant. Fields of flow stay in memory for the next job of the same video."""
        for feed in self.feeds.values():
            feed.forget(job.needed[0])
        rng = np.random.default_rng(0)  # `see` draws only with an augmentation
        pictures = {name: feed.pictures(job.instant, job.n_frames, job.held) for name, feed in self.feeds.items()}
        for view in self.views:
            seen = {
                name: modality.see(pictures[name], view, self.size, None, rng)
                for name, modality in self.modalities.items()
            }
            yield Sample(job.window, seen)

    def forget_all(self) -> None:
        """Drop the data of the video before."""
        for feed in self.feeds.values():
            feed.forget(ENDLESS)

    def _needed(self, name: str, instant: int, n_frames: int) -> list[int]:
        """Indices of the frames that all streams need for an instant, in ascending order.

        Raises:
            ActionRecError: the video is too short.
        """
        try:
            return sorted({index for feed in self.feeds.values() for index in feed.frames(instant, n_frames)})
        except ValueError as error:
            raise ActionRecError(f"{name} is too short: {error}; name a video of at least {self.span} frames") from None


def _drop(held: dict[int, Decoded], before: int) -> None:
    """Drop frames with smaller indices; near its end a video may need a whole span of frames before an instant."""
    for index in [index for index in held if index < before]:
        del held[index]


def _rate(path: Path) -> float:
    """Frames a second of a video, by its container."""
    return usable_rate(probe(path).rate)
