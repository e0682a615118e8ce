"""Optical flow estimators with one interface: consecutive frames → flow fields in pixels."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from hydra.utils import get_method

from actionrec.system.errors import ActionRecError


class Estimator(NamedTuple):
    """Flow between consecutive frames.

    `fields` maps N frames to N-1 fields (H, W, 2) float32 of displacements in pixels from each frame to the next. The
    frames are (H, W) uint8 gray, or (H, W, 3) uint8 RGB if `colour` is true. `batch` is the number of fields that the
    estimator computes at once, so callers should pass `batch` + 1 frames.
    """

    fields: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    colour: bool = False
    batch: int = 1


DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


def farneback(
    pyr_scale: float = 0.5,
    levels: int = 3,
    winsize: int = 15,
    iterations: int = 3,
    poly_n: int = 5,
    poly_sigma: float = 1.2,
) -> Estimator:
    """Polynomial expansion (Farnebäck, SCIA 2003), with the reference project's parameters."""

    def estimate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return cv2.calcOpticalFlowFarneback(
            first, second, None, pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, 0
        )

    return _pair_by_pair(estimate)


def dis(preset: str = "medium", finest_scale: int | None = None) -> Estimator:
    """Dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        preset: one of `DIS_PRESETS`.
        finest_scale: finest pyramid level at which patches are searched (0 is the full size); None takes the preset's
            level, 1 for `medium` and 2 for the others.
    """
    if preset not in DIS_PRESETS:
        raise ActionRecError(f"flow.params.preset={preset}: use one of {', '.join(DIS_PRESETS)}")
    algorithm = cv2.DISOpticalFlow_create(DIS_PRESETS[preset])
    if finest_scale is not None:
        algorithm.setFinestScale(finest_scale)

    finest = algorithm.getFinestScale()

    def estimate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape
        if _is_too_low(height, width, finest):
            error = cv2.error(text := f"frames of {width}×{height} pixels are too low for their width")
            error.err = text  # as an error of OpenCV's own, of which callers say the clip
            raise error
        # Unlike the other estimators, DIS needs contiguous arrays.
        return algorithm.calc(np.ascontiguousarray(first), np.ascontiguousarray(second), None)

    return _pair_by_pair(estimate)


def _is_too_low(height: int, width: int, finest: int) -> bool:
    """Whether OpenCV's DIS would read outside the frames of a coarse pyramid level, which can crash the process.

    If the frames are too small for the finest scale, OpenCV chooses the coarsest level again, by the width alone
    (`autoSelectPatchSizeAndScales` of OpenCV 5.0). A level has to hold a patch of 8×8 pixels.
    """
    if min(height, width) < 8:
        return False  # OpenCV refuses these itself
    coarsest = min(round(math.log2(max(height, width) / 32)), int(math.log2(min(height, width) / 8)))
    chosen = max(math.floor(math.log2(2 * width / 40)), 0)
    return coarsest < finest and height < 8 << chosen


def tvl1(
    tau: float = 0.25, lambda_: float = 0.15, theta: float = 0.3, warps: int = 5, epsilon: float = 0.01
) -> Estimator:
    """Total variation with an L1 data term (Zach et al., DAGM 2007), the literature's usual choice."""
    if not hasattr(cv2, "optflow"):
        raise ActionRecError(
            "this OpenCV has no TV-L1; install opencv-contrib-python-headless and no other opencv wheel"
        )
    algorithm = cv2.optflow.DualTVL1OpticalFlow_create(
        tau=tau, lambda_=lambda_, theta=theta, warps=warps, epsilon=epsilon
    )
    return _pair_by_pair(lambda first, second: algorithm.calc(first, second, None))


def raft(network: str = "raft_large", weights: str = "C_T_SKHT_V2", updates: int = 12) -> Estimator:
    """Recurrent all-pairs field transforms (Teed & Deng, ECCV 2020), see `flow.raft`."""
    from actionrec.flow.raft import create_raft  # imports torch, which is slow and which the others do not need

    fields, batch = create_raft(network, weights, updates)
    return Estimator(fields, colour=True, batch=batch)


ESTIMATORS: dict[str, Callable[..., Estimator]] = {"farneback": farneback, "dis": dis, "tvl1": tvl1, "raft": raft}


def create(algorithm: str, params: Mapping[str, Any]) -> Estimator:
    """The estimator of that name with those parameters.

    Args:
        algorithm: one of `ESTIMATORS`, or a function or class of the user's own, `<package>.<module>.<name>`.
        params: its arguments.

    Raises:
        ActionRecError: there is no such estimator, or it does not take the parameters.
    """
    make = ESTIMATORS.get(algorithm) or _own(algorithm)
    try:
        return make(**params)
    except TypeError as error:
        raise ActionRecError(f"flow.params do not fit {algorithm}: {error}") from None


def is_own(algorithm: str) -> bool:
    """Whether a name is that of an estimator of the user's own."""
    return "." in algorithm


def _own(algorithm: str) -> Callable[..., Estimator]:
    if not is_own(algorithm):
        raise ActionRecError(
            f"flow.algorithm={algorithm}: use one of {', '.join(ESTIMATORS)}, or <package>.<module>.<function>"
        )
    try:
        return get_method(algorithm)
    except (ImportError, ValueError) as error:
        raise ActionRecError(f"flow.algorithm={algorithm} cannot be imported ({str(error).splitlines()[0]})") from None


def _pair_by_pair(estimate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Estimator:
    return Estimator(lambda frames: [estimate(first, second) for first, second in pairwise(frames)])
