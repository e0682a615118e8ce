"""Sliding windows over a long video: their borders and instants, and segments from the windows' probabilities.

Times are in seconds since the first frame, so that windows do not depend on the frame rate.
"""

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
    current: int | None = None
    for row in probabilities:
        best = int(row.argmax())
        if current is not None and row[current] < leave:
            current = None
        if row[best] >= enter and (current is None or row[best] > row[current]):
            current = best
        found.append(current)
    return found


def segments(
    probabilities: np.ndarray, parts: Sequence[Window], enter: float, leave: float, least: float = 0.0
) -> list[Segment]:
    """Segments in the order of time from the probabilities (N, K) of N consecutive windows; see `hysteresis`.

    Args:
        probabilities: of the windows, smoothed.
        parts: the part of the video for which each window speaks, see `spans`.
        enter, leave: thresholds.
        least: segments shorter than this, in seconds, are left out.
    """
    labels = hysteresis(probabilities, enter, leave)
    found, first = [], 0
    for index in range(1, len(labels) + 1):
        if index == len(labels) or labels[index] != labels[first]:
            label = labels[first]
            if label is not None and parts[index - 1].end - parts[first].start >= least - TOLERANCE:
                mean = float(probabilities[first:index, label].mean())
                found.append(Segment(parts[first].start, parts[index - 1].end, label, mean))
            first = index
    return found
