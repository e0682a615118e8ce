"""The estimators side by side: speed, error on motions that are known, and the error that storing adds."""

import argparse
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from actionrec.experiment.extraction import flow_of
from actionrec.flow.estimators import Estimator, create
from actionrec.flow.field import dequantize, quantize
from actionrec.storage import flow as store
from actionrec.storage import pictures as picture_zip
from actionrec.storage.flow import FlowSettings
from actionrec.storage.video import iter_frames
from actionrec.system.errors import ActionRecError
from benchmarks.common import clips_under, composed, seconds

NAMES = ("dis_ultrafast", "dis_fast", "dis_balanced", "dis_medium", "farneback", "tvl1", "raft_small", "raft_large")
MARGIN = 40  # pixels at the rim, where what comes into the picture cannot be known
PAIRS = {"tvl1": 2, "raft_small": 2, "raft_large": 2}  # a clip, of the slow ones; else
MANY = 20


def settings_of(name: str) -> FlowSettings:
    """The settings of a file of conf/flow/."""
    return flow_of(composed("extract_flow", f"flow={name}"))[0]


DEFAULT: str = composed("extract_flow").flow.name


def motions() -> dict[str, np.ndarray]:
    """Affine maps (2, 3) of a 320x240 picture onto the next one."""
    about_middle = {
        "turn 3°": cv2.getRotationMatrix2D((159.5, 119.5), 3, 1),
        "zoom 5 %": cv2.getRotationMatrix2D((159.5, 119.5), 0, 1.05),
    }
    shifts = {f"{pixels} px": np.array([[1, 0, 0.8 * pixels], [0, 1, 0.6 * pixels]]) for pixels in (1, 3, 8, 20)}
    return {**shifts, **about_middle}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A row for each estimator: fields/s of one thread on real clips; end-point error in pixels where real pictures
    are moved by a known motion; stored size, and the errors in pixels that 8 bits and JPEG add, on real clips.
    """
    clips = clips_under(options.data / "hmdb51_clips")
    frames = [_first_frames(clip.path, MANY + 1) for clip in clips]
    cv2.setNumThreads(0)
    rows = []
    for name in NAMES:
        settings = settings_of(name)
        try:
            estimator = create(settings.algorithm, settings.params)
        except ActionRecError as error:
            print(f"{name} was not measured: {error}")
            continue
        rows.append({"estimator": name, **_row(estimator, settings, frames, PAIRS.get(name, MANY))})
    return {}, rows


def _row(
    estimator: Estimator, settings: FlowSettings, clips: Sequence[Sequence[np.ndarray]], pairs: int
) -> dict[str, Any]:
    fields: list[np.ndarray] = []
    seen = [[_as_taken(frame, estimator) for frame in frames[: pairs + 1]] for frames in clips]
    took = seconds(lambda: fields.extend(field for frames in seen for field in estimator.fields(frames)))
    row: dict[str, Any] = {"fields/s": len(fields) / took}
    for motion, matrix in motions().items():
        row[motion] = float(np.mean([_error(estimator, frames[0], matrix) for frames in clips]))
    sizes, by_bits, by_jpeg = [], [], []
    for field in fields:
        codes = quantize(field, settings.bound)
        data = picture_zip.encode(store.as_picture(codes))
        restored = dequantize(codes, settings.bound)
        sizes.append(len(data) / 1000)
        by_bits.append(_distance(restored, np.clip(field, -settings.bound, settings.bound)))
        by_jpeg.append(
            _distance(
                dequantize(picture_zip.decode(data, cv2.IMREAD_GRAYSCALE).reshape(codes.shape), settings.bound),
                restored,
            )
        )
    row |= {"kB/field": float(np.mean(sizes)), "8 bits": float(np.mean(by_bits)), "JPEG": float(np.mean(by_jpeg))}
    return row


def _error(estimator: Estimator, frame: np.ndarray, matrix: np.ndarray) -> float:
    """Mean end-point error between a picture and itself under a motion."""
    height, width = frame.shape[:2]
    moved = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    [found] = estimator.fields([_as_taken(frame, estimator), _as_taken(moved, estimator)])
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    there = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
    true = there - np.stack([x, y], axis=-1)
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return _distance(found[inside], true[inside])


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second, axis=-1).mean())


def _as_taken(frame: np.ndarray, estimator: Estimator) -> np.ndarray:
    return frame if estimator.colour else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _first_frames(path: Any, count: int) -> list[np.ndarray]:
    return [cv2.resize(frame, (320, 240)) for frame, _ in zip(iter_frames(path), range(count), strict=False)]
