"""The square of a picture around the motion, as the input of a stream: actors are often a small part of a picture."""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from actionrec.storage.cache import Pictures
from actionrec.system.errors import ActionRecError

MOTION = "motion"
STEP = 4  # pixels between the places at which motion is looked at
SPREAD = 2.0  # standard deviations of the motion's places to each side of the square's centre
SMALLEST = 0.5  # side of the smallest square, as a fraction of the picture's shorter side
STILL = 4  # pixels that move less than so many times the median do not count, since noise and the camera move all


def check(key: str, focus: str | None) -> str | None:
    """The setting of a stream's focus.

    Raises:
        ActionRecError: it is neither None nor `motion`.
    """
    if focus not in (None, MOTION):
        raise ActionRecError(f"{key}={focus}: use null or {MOTION}")
    return focus


def named(size: int | None, focus: str | None) -> dict[str, Any]:
    """The size and the focus of a stream, as part of its settings; those that are unset are left out, as in earlier
    versions."""
    return {key: value for key, value in (("size", size), ("focus", focus)) if value}


def on_flow(codes: np.ndarray) -> np.ndarray:
    """The square of consecutive fields (T, 2, H, W) around the motion against the camera: (T, 2, side, side).

    The displacement by the camera is the median of each field.
    """
    sparse = codes[..., ::STEP, ::STEP].astype(np.float32)
    sparse -= np.median(sparse, axis=(-2, -1), keepdims=True)
    rows, columns = square(np.square(sparse).sum(axis=(0, 1)), codes.shape[-2:])
    return codes[..., rows, columns]


def on_frames(frames: Pictures) -> list[np.ndarray]:
    """The square of two or more consecutive frames (H, W, 3) uint8 around their changes: (side, side, 3) each."""
    height, width = frames[0].shape[:2]
    small = (max(width // STEP, 1), max(height // STEP, 1))
    grays = [cv2.cvtColor(cv2.resize(each, small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for each in frames]
    changes = [cv2.absdiff(after, before) for before, after in pairwise(grays)]
    rows, columns = square(np.square(np.asarray(changes, np.float32)).sum(axis=0), (height, width))
    return [each[rows, columns] for each in frames]


def square(weight: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the square of a picture (H, W) around the places with weight.

    The square reaches `SPREAD` standard deviations of the weighted coordinates to each side of their mean, in the
    direction with the larger deviation. Its side is `SMALLEST` of the picture's shorter side at least, and the shorter
    side at most, as it is where nothing moves.

    Args:
        weight: (h, w), at least 0, of places that are evenly spread over the picture.
        shape: H and W.
    """
    weight = np.where(weight < STILL * np.median(weight), 0, weight).astype(np.float64)
    if not weight.any():
        weight[:] = 1
    weight /= weight.sum()
    shares = weight.sum(axis=1), weight.sum(axis=0)
    places = [(np.arange(len(share)) + 0.5) * (side / len(share)) for share, side in zip(shares, shape, strict=True)]
    means = [float(share @ place) for share, place in zip(shares, places, strict=True)]
    deviations = [
        float(np.sqrt(share @ np.square(place - mean)))
        for share, place, mean in zip(shares, places, means, strict=True)
    ]
    shorter = min(shape)
    side = round(float(np.clip(2 * SPREAD * max(deviations), SMALLEST * shorter, shorter)))
    starts = [round(float(np.clip(mean - side / 2, 0, whole - side))) for mean, whole in zip(means, shape, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
