"""The contract of a flow field: quantisation, mirroring, rotation and stacking.

A field is (H, W, 2): displacements in pixels along x (right) and y (down) from frame i to frame i+1. The stored codes
of a field are (2, H, W) uint8, `round((clip(v, -bound, bound) + bound) · 255 / (2 · bound))`; zero motion is 128.
"""

import cv2
import numpy as np

ZERO = 128  # the code of zero motion


def quantize(field: np.ndarray, bound: float) -> np.ndarray:
    """Codes (..., 2, H, W) uint8 of fields (..., H, W, 2) in pixels (float)."""
    planes = np.ascontiguousarray(np.moveaxis(field, -1, -3))
    return np.rint((np.clip(planes, -bound, bound) + bound) * (255 / (2 * bound))).astype(np.uint8)


def dequantize(codes: np.ndarray, bound: float) -> np.ndarray:
    """Fields (..., H, W, 2) in pixels (float32) of codes (..., 2, H, W); zero motion is exactly 0.

    The error against the quantised field is at most one step: 2·bound/255, or 0.16 px with a bound of 20.
    """
    return np.moveaxis((codes.astype(np.float32) - ZERO) * np.float32(2 * bound / 255), -3, -1)


def negate(codes: np.ndarray) -> np.ndarray:
    """Codes of the opposite displacements."""
    # The code of -v is 255 - code(v), except for zero motion: 127.5 rounds to 128, which must stay 128.
    negated = ~codes
    negated += codes == ZERO
    return negated


def mirror(codes: np.ndarray) -> np.ndarray:
    """Codes (..., 2, H, W) of the horizontally mirrored clip: the field mirrored, with x negated."""
    planes = [cv2.flip(plane, 1) for plane in codes.reshape(-1, *codes.shape[-2:])]  # five times as fast as [..., ::-1]
    mirrored = np.stack(planes).reshape(codes.shape)
    mirrored[..., 0, :, :] = negate(mirrored[..., 0, :, :])
    return mirrored


def rotate(codes: np.ndarray, degrees: float) -> np.ndarray:
    """Codes (..., 2, H, W) with every displacement vector rotated counter-clockwise as seen on the screen.

    The vectors stay at their pixels; the caller rotates the picture.
    """
    angle = np.deg2rad(degrees)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = (codes[..., axis, :, :].astype(np.float32) - ZERO for axis in (0, 1))
    turned = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-3)
    return np.clip(np.rint(turned) + ZERO, 0, 255).astype(np.uint8)


def magnitude(codes: np.ndarray) -> np.ndarray:
    """Lengths of displacements (..., 2, H, W) as uint8 (..., H, W): 0 is zero motion, 255 is `bound` pixels or more."""
    x, y = (codes[..., axis, :, :].astype(np.float32) - ZERO for axis in (0, 1))
    return np.minimum(np.rint(2 * np.hypot(x, y)), 255).astype(np.uint8)


def stack(codes: np.ndarray, representation: str) -> np.ndarray:
    """Channels (C, H, W) of consecutive fields (T, 2, H, W), both uint8.

    `xy` interleaves the components, x0 y0 x1 y1 … (C = 2T); `magnitude` takes the lengths (C = T).
    """
    return magnitude(codes) if representation == "magnitude" else codes.reshape(-1, *codes.shape[-2:])
