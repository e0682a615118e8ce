"""Optical flow estimators behind one interface: two gray frames to a field in pixels."""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

from actionrec.errors import ActionRecError

# (H, W) uint8, (H, W) uint8 → (H, W, 2) float32 displacements in pixels from the first frame to the second.
Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]

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

    return estimate


def dis(preset: str = "medium") -> Estimator:
    """Dense inverse search (Kroeger et al., ECCV 2016)."""
    if preset not in DIS_PRESETS:
        raise ActionRecError(f"flow.params.preset={preset}: use one of {', '.join(DIS_PRESETS)}")
    algorithm = cv2.DISOpticalFlow_create(DIS_PRESETS[preset])

    def estimate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        # DIS alone refuses views into larger arrays.
        return algorithm.calc(np.ascontiguousarray(first), np.ascontiguousarray(second), None)

    return estimate


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
    return lambda first, second: algorithm.calc(first, second, None)


ESTIMATORS: dict[str, Callable[..., Estimator]] = {"farneback": farneback, "dis": dis, "tvl1": tvl1}


def create(algorithm: str, params: Mapping[str, Any]) -> Estimator:
    """The estimator of that name with those parameters."""
    if algorithm not in ESTIMATORS:
        raise ActionRecError(f"flow.algorithm={algorithm}: use one of {', '.join(ESTIMATORS)}")
    try:
        return ESTIMATORS[algorithm](**params)
    except TypeError as error:
        raise ActionRecError(f"flow.params do not fit {algorithm}: {error}") from None
