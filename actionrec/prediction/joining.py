"""Untrimmed videos made by joining clips, whose borders are therefore known."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from actionrec.evaluation.localisation import Instance
from actionrec.prediction.reading import Video, measure
from actionrec.storage.video import Grabbed, iter_grabbed, probe, usable_rate


class Part(NamedTuple):
    """A clip and its action; None for a clip of none of the actions."""

    path: Path
    action: str | None


class Joined(NamedTuple):
    """A video of clips one after the other, its duration in seconds, and the actions in it."""

    video: Video
    duration: float
    instances: list[Instance]


def shuffled(parts: Sequence[Part], each: int, seed: int) -> list[list[Part]]:
    """All parts in random order, in groups of `each` or a few more parts, so that no group is short."""
    order = np.random.default_rng(seed).permutation(len(parts))
    groups = np.array_split(order, max(len(parts) // each, 1))
    return [[parts[index] for index in group.tolist()] for group in groups]


def join(name: str, parts: Sequence[Part]) -> Joined:
    """Join clips to a video, whose frames are decoded from the clips when they are taken, without encoding them again.

    Neighbouring clips of one action are one instance. All frames have the size of the first one: frames of another size
    are scaled to cover it, and cropped at the middle.

    Raises:
        ActionRecError: a clip cannot be decoded.
    """
    lengths: list[float] = []
    instances: list[Instance] = []
    start = 0.0
    for part in parts:
        length = measure(part.path, float("inf"))
        assert length  # None only for a limit
        lengths.append(length.duration)
        end = start + length.duration
        if part.action is not None and instances and instances[-1][1:] == (instances[-1].start, start, part.action):
            instances[-1] = instances[-1]._replace(end=end)
        elif part.action is not None:
            instances.append(Instance(name, start, end, part.action))
        start = end
    rate = usable_rate(probe(parts[0].path).rate)
    frames = _chained([part.path for part in parts], lengths)
    return Joined(Video(name, rate, frames), start, instances)


def _chained(paths: Sequence[Path], durations: Sequence[float]) -> Iterator[Grabbed]:
    offset, size = 0.0, None
    for path, duration in zip(paths, durations, strict=True):
        for grabbed in iter_grabbed(path):
            size = size or grabbed.image().shape[:2]
            yield Grabbed(offset + grabbed.time, partial(_fitted, grabbed.image, size))
        offset += duration


def _fitted(image: Callable[[], np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """A frame scaled to cover a height and width, and cropped at the middle."""
    frame = image()
    (height, width), (tall, wide) = frame.shape[:2], size
    if (height, width) == size:
        return frame
    scale = max(tall / height, wide / width)
    grown = cv2.resize(frame, (max(round(width * scale), wide), max(round(height * scale), tall)))
    top, left = (grown.shape[0] - tall) // 2, (grown.shape[1] - wide) // 2
    return grown[top : top + tall, left : left + wide]
