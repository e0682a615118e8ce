"""Sliding windows over a long video: their borders and instants, and segments from the windows' probabilities.

Times are in seconds since the first frame, so that windows do not depend on the frame rate.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-3  # seconds; some containers, such as Matroska, round timestamps to milliseconds


class Window(NamedTuple):
    """A part of a video, from `start` to `end` in seconds."""

    start: float
    end: float


class Segment(NamedTuple):
    """An action from `start` to `end` in seconds.

    Args:
        start, end: borders.
        label: index of the action.
        probability: mean probability of the action over the segment's windows.
    """

    start: float
    end: float
    label: int
    probability: float


def endless(seconds: float, hop: float) -> Iterator[Window]:
    """Windows of `seconds`, one every `hop` seconds, without end."""
    number = 0
    while True:
        yield Window(number * hop, number * hop + seconds)
        number += 1


def count(duration: float, seconds: float, hop: float) -> int:
    """Number of windows that lie inside a video of `duration` seconds; 0 if the video is shorter than a window."""
    return max(int((duration - seconds + TOLERANCE) // hop) + 1, 0)


def instants(window: Window, fractions: Sequence[float], period: float) -> list[float]:
    """Times in a window of the frames that an evaluation of the window as a clip of its own would take.

    Such a clip has n = seconds / period frames, and `storage.frames.frame_index` takes the frame
    floor(fraction · (n - 1) + 1/2). That frame is on display at the returned time, start + fraction · (seconds -
    period) + period / 2.

    Args:
        window: the window.
        fractions: instants of a clip, see `streams.sampling.eval_fractions`.
        period: seconds from one frame to the next.
    """
    free = max(window.end - window.start - period, 0.0)
    return [window.start + fraction * free + period / 2 for fraction in fractions]


def spans(number: int, seconds: float, hop: float, duration: float) -> list[Window]:
    """The parts of a video for which the windows speak: `hop` seconds around the middle of each window.

    The first part begins with the video and the last part ends with the video, so that the parts cover the video.
    """
    borders = [index * hop + (seconds - hop) / 2 for index in range(number + 1)]
    borders[0], borders[-1] = 0.0, duration
    return [Window(start, end) for start, end in pairwise(borders)]


def smooth(probabilities: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average over `width` windows (odd) of probabilities (N, K).

    At the ends of the video the average is over the windows that exist.
    """
    reach, total = width // 2, len(probabilities)
    sums = np.concatenate([np.zeros((1, probabilities.shape[1])), np.cumsum(probabilities, axis=0, dtype=np.float64)])
    first = np.maximum(np.arange(total) - reach, 0)
    last = np.minimum(np.arange(total) + reach + 1, total)
    return (sums[last] - sums[first]) / (last - first)[:, None]


def hysteresis(probabilities: np.ndarray, enter: float, leave: float) -> list[int | None]:
    """The action of each window (None for none of them) of probabilities (N, K), by two thresholds (Schmitt trigger).

    An action begins where it is the most probable one with a probability of `enter` or more. It lasts until its
    probability falls below `leave`, or until another action begins. With a single threshold, a probability near the
    threshold would cut one action into many.
    """
    found: list[int | None] = []
    for row in probabilities:
        found.append(_step(row, found[-1] if found else None, enter, leave))
    return found


def _step(row: np.ndarray, current: int | None, enter: float, leave: float) -> int | None:
    """The action of a window with probabilities (K,) after a window of the action `current`."""
    best = int(row.argmax())
    if current is not None and row[current] < leave:
        current = None
    return best if row[best] >= enter and (current is None or row[best] > row[current]) else current


def segments(
    probabilities: np.ndarray,
    parts: Sequence[Window],
    enter: float,
    leave: float,
    least: float = 0.0,
    none: int | None = None,
) -> list[Segment]:
    """Segments in the order of time from the probabilities (N, K) of N consecutive windows; see `hysteresis`.

    Args:
        probabilities: of the windows, smoothed.
        parts: the part of the video for which each window speaks, see `spans`.
        enter, leave: thresholds.
        least: segments shorter than this, in seconds, are left out.
        none: index of the class background, whose segments are left out.
    """
    labels = hysteresis(probabilities, enter, leave)
    found, first = [], 0
    for index in range(1, len(labels) + 1):
        if index == len(labels) or labels[index] != labels[first]:
            label = labels[first]
            if label is not None and label != none and parts[index - 1].end - parts[first].start >= least - TOLERANCE:
                mean = float(probabilities[first:index, label].mean())
                found.append(Segment(parts[first].start, parts[index - 1].end, label, mean))
            first = index
    return found


class Ongoing:
    """Segments of a video that is not at its end, from windows that come one by one; some may be left out.

    Without windows that are left out, the segments are those of `smooth` and `segments` over all windows.

    Args:
        seconds, hop: see `endless`.
        width: see `smooth`.
        enter, leave, least, none: see `segments`.

    Attributes:
        current: the action of the last window, or None, with its probability or the largest one.
    """

    def __init__(
        self,
        seconds: float,
        hop: float,
        width: int,
        enter: float,
        leave: float,
        least: float = 0.0,
        none: int | None = None,
    ):
        self.seconds, self.hop, self.reach = seconds, hop, width // 2
        self.enter, self.leave, self.least, self.none = enter, leave, least, none
        self._label: int | None = None  # of the last window, `none` included
        self._rows: dict[int, np.ndarray] = {}  # by number of the window
        self._waiting: deque[int] = deque()  # windows whose smoothed probabilities are not known yet
        self._open: _Open | None = None
        self._begun = False
        self.current: tuple[int | None, float] = (None, 0.0)

    def push(self, number: int, row: np.ndarray) -> list[Segment]:
        """Add the probabilities (K,) of a window; returns the segments that have ended."""
        self._rows[number] = row
        self._waiting.append(number)
        found = []
        while self._waiting and self._waiting[0] + self.reach <= number:
            found += self._decide(self._waiting.popleft())
        for old in [each for each in self._rows if self._waiting and each < self._waiting[0] - self.reach]:
            del self._rows[old]
        return found

    def finish(self, duration: float) -> list[Segment]:
        """The last segments of a video of `duration` seconds."""
        found = [each for number in self._waiting for each in self._decide(number)]
        self._waiting.clear()
        if self._open and duration - self._open.end < self.seconds:
            self._open = self._open._replace(end=max(duration, self._open.end))
        return found + self._close()

    def _decide(self, window: int) -> list[Segment]:
        near = [row for each, row in self._rows.items() if abs(each - window) <= self.reach]
        row = np.mean(near, axis=0)
        self._label = label = _step(row, self._label, self.enter, self.leave)
        self.current = None if label == self.none else label, float(row.max() if label is None else row[label])
        middle = window * self.hop + (self.seconds - self.hop) / 2
        start, end = middle if self._begun else 0.0, middle + self.hop
        self._begun = True
        ended = [] if self._open and self._open.label == label else self._close()
        if label is not None:
            if not self._open:
                self._open = _Open(start, end, label, 0.0, 0)
            total, number = self._open.total + float(row[label]), self._open.number + 1
            self._open = self._open._replace(end=end, total=total, number=number)
        return ended

    def _close(self) -> list[Segment]:
        done, self._open = self._open, None
        if not done or done.label == self.none or done.end - done.start < self.least - TOLERANCE:
            return []
        return [Segment(done.start, done.end, done.label, done.total / done.number)]


class _Open(NamedTuple):
    """A segment that has not ended, with the sum of the probabilities of its windows, and their number."""

    start: float
    end: float
    label: int
    total: float
    number: int
