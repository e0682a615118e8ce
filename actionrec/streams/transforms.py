"""Augmentation on uint8: random views (crop, flip and rotation, shared by all streams of a sample) and colour jitter.

Normalisation happens later, on the device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from actionrec.flow import field
from actionrec.system.errors import ActionRecError


class Augmentation(NamedTuple):
    """Ranges of the random changes to a training sample."""

    scale: tuple[float, float] = (1.0, 1.0)  # range of the crop's area, as a fraction of the image
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # range of the crop's aspect ratio, relative to the image's
    flip: bool = False
    degrees: float = 0.0  # largest rotation to either side
    jitter: float = 0.0  # largest change of brightness, contrast and saturation, as a fraction; for RGB frames only

    @property
    def smallest_side(self) -> float:
        """The shortest possible side of a crop, as a fraction of the image's side."""
        return float(np.sqrt(self.scale[0] * min(self.ratio))) if self.scale != (1.0, 1.0) else 1.0


NONE = Augmentation()
# `reference` is the reference project's augmentation; `strong` has Inception's crop (Szegedy et al., CVPR 2015).
STILL_PRESETS = {
    "none": NONE,
    "reference": Augmentation(flip=True, degrees=15, jitter=0.2),
    "strong": Augmentation(scale=(0.35, 1), flip=True, jitter=0.2),
}
# Crops are milder than for stills, since the position of a motion in the image helps to distinguish actions.
CLIP_PRESETS = {
    "none": NONE,
    "reference": Augmentation(scale=(0.8, 1), flip=True, degrees=10, jitter=0.2),
    "strong": Augmentation(scale=(0.5, 1), flip=True, jitter=0.2),
}


class View(NamedTuple):
    """The geometry of one sample: a crop, as fractions of the image or of a square of it, a flip and a rotation."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0
    flip: bool = False
    degrees: float = 0.0  # counter-clockwise
    square: float | None = None  # place of the square along the image's longer side, 0 to 1; None: the whole image


REGIONS = ("whole", "square")
WHOLE = View()
# Corners and centre of ten-crop testing (Krizhevsky et al., NeurIPS 2012): 224 of 256 pixels.
_SIDE = 224 / 256
_CORNERS = tuple(
    View(left, top, _SIDE, _SIDE)
    for left, top in ((0, 0), (1 - _SIDE, 0), (0, 1 - _SIDE), (1 - _SIDE, 1 - _SIDE), ((1 - _SIDE) / 2,) * 2)
)
# Three overlapping squares side by side on a 4:3 picture.
_THIRDS = tuple(View(left, 0, 0.75, 1) for left in (0, 0.125, 0.25))
EVAL_VIEWS = {
    1: (WHOLE,),
    2: (WHOLE, WHOLE._replace(flip=True)),
    3: _THIRDS,
    5: _CORNERS,
    10: _CORNERS + tuple(view._replace(flip=True) for view in _CORNERS),
}


def eval_views(crops: int, region: str = "whole") -> tuple[View, ...]:
    """The views of a picture whose scores the test averages; the validation takes one view.

    Args:
        crops: their number, a key of `EVAL_VIEWS`.
        region: `whole` squeezes the whole picture into a square input; `square` keeps the proportions: one, two, five
            and ten views are of the central square of a picture, three views are squares side by side.

    Raises:
        ActionRecError: there is no such region or number of views.
    """
    if crops not in EVAL_VIEWS:
        raise ActionRecError(f"views.crops={crops}: use one of {', '.join(map(str, EVAL_VIEWS))}")
    if region not in REGIONS:
        raise ActionRecError(f"data.region={region}: use one of {', '.join(REGIONS)}")
    if region == "whole":
        return EVAL_VIEWS[crops]
    if crops == len(_THIRDS):
        return tuple(WHOLE._replace(square=place) for place in (0.0, 0.5, 1.0))
    return tuple(view._replace(square=0.5) for view in EVAL_VIEWS[crops])


def preset(presets: dict[str, Augmentation], name: str) -> Augmentation:
    """The augmentation with this name.

    Raises:
        ActionRecError: there is no such augmentation.
    """
    if name not in presets:
        raise ActionRecError(f"data.augmentation={name}: use one of {', '.join(presets)}")
    return presets[name]


def draw_view(augmentation: Augmentation, rng: np.random.Generator, region: str = "whole") -> View:
    """Draw a view; the crop is always inside the image, of `square` inside a square anywhere along its longer side."""
    width = height = 1.0
    if augmentation.scale != (1.0, 1.0):
        area = rng.uniform(*augmentation.scale)
        ratio = np.exp(rng.uniform(*np.log(augmentation.ratio)))
        width, height = min(np.sqrt(area * ratio), 1.0), min(np.sqrt(area / ratio), 1.0)
    return View(
        left=rng.uniform(0, 1 - width),
        top=rng.uniform(0, 1 - height),
        width=width,
        height=height,
        flip=augmentation.flip and rng.random() < 0.5,
        degrees=rng.uniform(-augmentation.degrees, augmentation.degrees),
        square=rng.random() if region == "square" else None,
    )


def view_frame(image: np.ndarray, view: View, size: int) -> np.ndarray:
    """The view of an image (H, W, 3), uint8 or float, resized to (size, size, 3)."""
    seen = _crop(image, view, size, cv2.BORDER_REFLECT_101)
    return cv2.flip(seen, 1) if view.flip else seen


def view_flow(codes: np.ndarray, view: View, size: int, representation: str) -> np.ndarray:
    """The view of consecutive fields (T, 2, H, W) as channels (C, size, size), uint8; see `flow.field.stack`.

    A rotation rotates the displacement vectors and a flip negates x, in this order, which is that of `view_frame`.
    Resizing does not scale the displacements: their unit stays the clip's pixel, as is usual since Simonyan & Zisserman
    (NeurIPS 2014).
    """
    planes = [_crop(plane, view, size, cv2.BORDER_CONSTANT) for plane in field.stack(codes, "xy")]
    seen = np.stack(planes).reshape(-1, 2, size, size)
    if view.degrees:
        seen = field.rotate(seen, view.degrees)
    if view.flip:
        seen = field.mirror(seen)
    return field.stack(seen, representation)


def jitter_colours(images: Sequence[np.ndarray], amount: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Change brightness, contrast and saturation of images (H, W, 3) uint8, each by a random factor in 1 ± amount.

    All images get the same factors, and the contrast is relative to the mean of the middle image; otherwise the frames
    of a stack would flicker.
    """
    if not amount:
        return list(images)
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, 3)
    mean = float(cv2.cvtColor(images[len(images) // 2], cv2.COLOR_RGB2GRAY).mean())
    # Contrast and brightness together are one affine map, which OpenCV saturates to 0 … 255.
    offset = (1 - contrast) * mean * brightness
    jittered = []
    for image in images:  # one by one, since an array of several images does not fit into the CPU cache
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        mixed = cv2.addWeighted(image, saturation, gray, 1 - saturation, 0)
        jittered.append(cv2.addWeighted(mixed, contrast * brightness, mixed, 0, offset))
    return jittered


def _crop(image: np.ndarray, view: View, size: int, border: int) -> np.ndarray:
    """The view of an image (H, W) or (H, W, 3) without the flip, as (size, size) or (size, size, 3)."""
    if view.square is not None:
        image = _square(image, view.square)
    height, width = image.shape[:2]
    left, top = round(view.left * width), round(view.top * height)
    right, bottom = round((view.left + view.width) * width), round((view.top + view.height) * height)
    if view.degrees:
        image = _rotate(image, view.degrees, border)
    return _resize(image[top : max(bottom, top + 1), left : max(right, left + 1)], size)


def _square(image: np.ndarray, place: float) -> np.ndarray:
    """The square of an image's shorter side at a place along the longer side, from 0 to 1."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = round(place * (height - side)), round(place * (width - side))
    return image[top : top + side, left : left + side]


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to a square: area interpolation by integer factors against aliasing, then bilinear.

    OpenCV's area interpolation is five times as slow for other factors.
    """
    down, across = (max(side // size, 1) for side in image.shape[:2])
    if down > 1 or across > 1:
        height, width = image.shape[0] // down, image.shape[1] // across
        image = cv2.resize(image[: height * down, : width * across], (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def _rotate(image: np.ndarray, degrees: float, border: int) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=border, borderValue=[field.ZERO] * 4)
