"""Samples of a network from a video or an image, read frame by frame."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from actionrec.datamodules.samples import StillDataset
from actionrec.datasets.records import Still
from actionrec.prediction import windows
from actionrec.prediction.feeds import ENDLESS, Decoded, create_feed
from actionrec.storage.frames import frame_index
from actionrec.storage.video import iter_grabbed, probe
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
    """

    def __init__(self, inputs: Mapping[str, Any], segments: int, crops: int, trust: Sequence[str] = ()):
        self.modalities = create_all(inputs)
        self.size = int(inputs["size"])
        self.fractions = eval_fractions(inputs.get("position", "middle"), segments)
        self.views = eval_views(crops)
        self.of_stills = all(modality.of_stills for modality in self.modalities.values())
        self.feeds = {name: create_feed(each, trust) for name, each in self.modalities.items()}

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
        ring = _Ring(self)
        wanted = deque(sorted(frame_index(fraction, n_frames) for fraction in self.fractions))
        needed = {index for instant in wanted for index in ring.needed(path, instant, n_frames)}
        for index, frame in enumerate(iter_grabbed(path)):
            tick()
            if index in needed:
                ring.held[index] = Decoded(frame.image())
            while wanted and ring.needed(path, wanted[0], n_frames)[-1] <= index:
                yield from ring.samples(0, wanted.popleft(), n_frames)
            if not wanted:
                return
            ring.forget(wanted[0])
        raise ActionRecError(f"{path} became shorter while it was read; run the same command again")

    def windows(
        self, path: Path, seconds: float, hop: float, tick: Callable[[], None] = lambda: None
    ) -> Iterator[Sample | Length]:
        """The samples of sliding windows over a video, in one pass; the last item is the length of the video.

        Samples of a window may come after samples of the next one. The last windows may reach beyond the end of the
        video, which is known at the end only, see `windows.count`. The number of frames in memory does not depend on
        the length of the video.

        Args:
            path: the video.
            seconds, hop: see `windows.endless`.
            tick: called for each frame that is decoded.

        Raises:
            ActionRecError: the video cannot be decoded.
        """
        ring, period = _Ring(self), 1 / _rate(path)
        coming = windows.endless(seconds, hop)
        ahead, started = next(coming), 0
        due: list[tuple[float, int]] = []  # heap of the instants, in seconds, whose frame is not known yet
        pending: deque[tuple[int, int]] = deque()  # frames of instants, and their windows
        last = before = 0.0
        for index, frame in enumerate(iter_grabbed(path)):
            tick()
            while ahead.start <= frame.time:
                for instant in windows.instants(ahead, self.fractions, period):
                    heapq.heappush(due, (instant, started))
                ahead, started = next(coming), started + 1
            while due and due[0][0] < frame.time - windows.TOLERANCE:  # the frame before was on display
                pending.append((index - 1, heapq.heappop(due)[1]))
            ring.held[index] = Decoded(frame.image())
            while pending and ring.needed(path, pending[0][0], ENDLESS)[-1] <= index:
                instant, window = pending.popleft()
                yield from ring.samples(window, instant, ENDLESS)
            ring.forget(pending[0][0] if pending else index)
            before, last = last, frame.time
        length = _length(index + 1, last, before)
        rest = ((index, heapq.heappop(due)[1]) for _ in range(len(due)))
        for instant, window in chain(pending, rest):
            if window < windows.count(length.duration, seconds, hop):
                ring.needed(path, instant, length.frames)
                yield from ring.samples(window, instant, length.frames)
        yield length


def _rate(path: Path) -> float:
    """Frames a second of a video, by its container."""
    rate = probe(path).rate
    return rate if 1 <= rate <= 1000 else 25.0


class _Ring:
    """The last frames of a video, as many as samples may still need."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.held: dict[int, Decoded] = {}
        self.feeds = reader.feeds
        self.span = max(feed.span for feed in self.feeds.values())
        for feed in self.feeds.values():
            feed.forget(ENDLESS)  # of the file before

    def needed(self, path: Path, instant: int, n_frames: int) -> list[int]:
        """Indices of the frames that all streams need for an instant, in ascending order.

        Raises:
            ActionRecError: the video is too short.
        """
        try:
            return sorted({index for feed in self.feeds.values() for index in feed.frames(instant, n_frames)})
        except ValueError as error:
            raise ActionRecError(f"{path} is too short: {error}; name a video of at least {self.span} frames") from None

    def samples(self, window: int, instant: int, n_frames: int) -> Iterator[Sample]:
        """The views of an instant."""
        reader, rng = self.reader, np.random.default_rng(0)  # `see` draws only with an augmentation
        pictures = {name: feed.pictures(instant, n_frames, self.held) for name, feed in self.feeds.items()}
        for view in reader.views:
            seen = {
                name: modality.see(pictures[name], view, reader.size, None, rng)
                for name, modality in reader.modalities.items()
            }
            yield Sample(window, seen)

    def forget(self, oldest: int) -> None:
        """Drop the frames that no sample at the frame `oldest` or later needs.

        Near the end of a video a sample may need a whole span of frames before its instant.
        """
        before = oldest - self.span
        for index in [index for index in self.held if index < before]:
            del self.held[index]
        for feed in self.feeds.values():
            feed.forget(before)
