"""The contract of a flow field: how it is stored, mirrored, turned and stacked.

A field is (H, W, 2): displacements in pixels along x (right) and y (down) from frame i to frame i+1. Stored as uint8 it
holds `round((clip(v, -bound, bound) + bound) · 255 / (2 · bound))`, so that no motion is 128.
"""

import numpy as np

ZERO = 128  # the code of no motion

# -v has the code 255 - code(v), but no motion, a tie that rounds up to 128, must stay what it is.
_NEGATED = np.arange(255, -1, -1, dtype=np.uint8)
_NEGATED[ZERO] = ZERO


def quantize(field: np.ndarray, bound: float) -> np.ndarray:
    """Codes (uint8) of displacements in pixels (float), of any shape."""
    return np.rint((np.clip(field, -bound, bound) + bound) * (255 / (2 * bound))).astype(np.uint8)


def dequantize(codes: np.ndarray, bound: float) -> np.ndarray:
    """Displacements in pixels (float32) of codes (uint8), no motion being exactly 0.

    Off by at most one step (2·bound/255, 0.16 px at the usual 20) from what was quantised.
    """
    return (codes.astype(np.float32) - ZERO) * np.float32(2 * bound / 255)


def negate(codes: np.ndarray) -> np.ndarray:
    """Codes of the opposite displacements."""
    return _NEGATED[codes]


def mirror(codes: np.ndarray) -> np.ndarray:
    """Codes (..., H, W, 2) of the field that the mirrored clip has: mirrored, with x negated."""
    mirrored = np.ascontiguousarray(codes[..., ::-1, :])
    mirrored[..., 0] = negate(mirrored[..., 0])
    return mirrored


def turn(codes: np.ndarray, degrees: float) -> np.ndarray:
    """Codes (..., 2) with every displacement turned counter-clockwise as seen on the screen, where y points down."""
    angle = np.deg2rad(degrees)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = codes[..., 0].astype(np.float32) - ZERO, codes[..., 1].astype(np.float32) - ZERO
    turned = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    return np.clip(np.rint(turned) + ZERO, 0, 255).astype(np.uint8)


def magnitude(codes: np.ndarray) -> np.ndarray:
    """Lengths of the displacements (..., 2) as uint8 (...): 0 is no motion, 255 is `bound` pixels or more."""
    lengths = 2 * np.hypot(codes[..., 0].astype(np.float32) - ZERO, codes[..., 1].astype(np.float32) - ZERO)
    return np.minimum(np.rint(lengths), 255).astype(np.uint8)


def stack(codes: np.ndarray, representation: str) -> np.ndarray:
    """Channels (H, W, C) of consecutive fields (T, H, W, 2), both uint8.

    `xy` interleaves the components, x0 y0 x1 y1 … (C = 2T); `magnitude` keeps the lengths (C = T).
    """
    if representation == "magnitude":
        return np.ascontiguousarray(np.moveaxis(magnitude(codes), 0, -1))
    fields, height, width, _ = codes.shape
    return np.ascontiguousarray(codes.transpose(1, 2, 0, 3).reshape(height, width, 2 * fields))
