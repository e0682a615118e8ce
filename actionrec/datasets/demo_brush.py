"""Drawing of outlined shapes, for the people of the generated data set."""

from collections.abc import Sequence

import cv2
import numpy as np

Image = np.ndarray  # (height, width, 3) uint8, BGR
Point = tuple[float, float]
Colour = tuple[float, float, float]  # BGR, 0 to 255

_OUTLINE = 2  # width in pixels of the canvas
_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates


class Brush:
    """Draws outlined shapes in body coordinates."""

    def __init__(self, canvas: Image, hip: Point, unit: float, mirrored: bool, ink: Colour) -> None:
        """Place the body: `hip` is its origin and `unit` its height, both in pixels of the canvas."""
        self._canvas, self._origin, self._unit, self._ink = canvas, hip, unit, ink
        self._scale = (-unit if mirrored else unit, unit)

    def _pixels(self, points: Sequence[Point]) -> np.ndarray:
        # Plain numbers, since NumPy is several times as slow for a few points.
        (scale_x, scale_y), (left, top), ones = self._scale, self._origin, 1 << _SHIFT
        pixels = [(round((x * scale_x + left) * ones), round((y * scale_y + top) * ones)) for x, y in points]
        return np.array(pixels, np.int32)

    def line(self, points: Sequence[Point], width: float, colour: Colour, outlined: bool = True) -> None:
        """Draw a polyline with round ends."""
        chain, thickness = [self._pixels(points)], max(1, round(width * self._unit))
        if outlined:
            cv2.polylines(self._canvas, chain, False, self._ink, thickness + 2 * _OUTLINE, cv2.LINE_AA, _SHIFT)
        cv2.polylines(self._canvas, chain, False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: Point, radius: float, colour: Colour, outlined: bool = True) -> None:
        self.line([centre, centre], 2 * radius, colour, outlined)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        outline = self._pixels(points)
        cv2.fillPoly(self._canvas, [outline], colour, cv2.LINE_AA, _SHIFT)
        cv2.polylines(self._canvas, [outline], True, self._ink, _OUTLINE, cv2.LINE_AA, _SHIFT)
