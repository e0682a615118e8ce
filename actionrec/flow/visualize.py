"""Flow as pictures: direction as hue, length as saturation."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.flow.extract import clip_fields
from actionrec.flow.field import dequantize
from actionrec.storage.flow import FlowSettings
from actionrec.storage.video import iter_frames, probe, resize_short_side
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path

# Most displacements are small, so the full colour range stands for this fraction of the bound.
SHOWN_PART = 0.25
CAPTION = 20  # pixels


def flow_colours(field: np.ndarray, scale: float) -> np.ndarray:
    """Picture (..., H, W, 3) uint8 RGB of fields (..., H, W, 2) in pixels.

    The colour wheel is that of Baker et al. (ICCV 2007): zero motion is white, displacements of `scale` pixels have
    full saturation, and longer displacements are darkened.
    """
    wheel = _wheel()
    x, y = field[..., 0] / scale, field[..., 1] / scale
    radius = np.hypot(x, y)[..., None]
    position = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = position.astype(int)
    part = (position - below)[..., None]
    hue = (1 - part) * wheel[below] + part * wheel[(below + 1) % len(wheel)]
    colour = np.where(radius <= 1, 1 - radius * (1 - hue), hue * 0.75)
    return (255 * colour).astype(np.uint8)


def magnitude_colours(field: np.ndarray, scale: float) -> np.ndarray:
    """Picture (H, W, 3) uint8 RGB of the lengths of a field (H, W, 2) in pixels.

    Zero motion is black; `scale` pixels and more are bright yellow.
    """
    lengths = np.hypot(field[..., 0], field[..., 1])
    levels = np.clip(lengths * (255 / scale), 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def stack_colours(stack: np.ndarray, representation: str, bound: float) -> np.ndarray:
    """Picture (H, W, 3) uint8 RGB of the middle field of a stack (C, H, W) uint8, see `flow.field.stack`."""
    if representation == "magnitude":
        lengths = stack[len(stack) // 2] * (bound / 255)
        return magnitude_colours(np.stack([lengths, np.zeros_like(lengths)], axis=-1), bound * SHOWN_PART)
    middle = len(stack) // 4 * 2
    return flow_colours(dequantize(stack[middle : middle + 2], bound), bound * SHOWN_PART)


def write_preview(path: Path, clip: Clip, settings: FlowSettings) -> None:
    """Estimate the flow of a clip, and write a video of frame, flow as colours, and magnitude side by side.

    Raises:
        ActionRecError: the clip cannot be decoded or has one frame only, or OpenCV cannot write a video to `path`.
    """
    frames = iter_frames(clip.path)
    rate = probe(clip.path).rate or 25.0
    with atomic_path(path) as temporary:
        writer = None
        for frame, codes in zip(frames, clip_fields(clip, settings), strict=False):  # the last frame has no field
            picture = _triptych(frame, codes, settings)
            if writer is None:
                size = picture.shape[1], picture.shape[0]
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    raise ActionRecError(f"cannot write a video to {path}; use a name that ends with .mp4")
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if writer is None:
            raise ActionRecError(f"{clip.path} has one frame only, flow needs two")
        writer.release()


def _triptych(frame: np.ndarray, codes: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Frame | flow | magnitude (H + CAPTION, 3W, 3), with a caption above each."""
    if settings.short_side:
        frame = resize_short_side(frame, settings.short_side)
    field, scale = dequantize(codes, settings.bound), settings.bound * SHOWN_PART
    flow = flow_colours(field, scale)
    legend = min(flow.shape[:2]) // 5
    flow[-legend:, -legend:] = _legend(legend)
    pictures = {
        "frame": frame,
        f"{settings.algorithm}: rim of the wheel {scale:g} px": flow,
        f"magnitude: 0 to {scale:g} px": magnitude_colours(field, scale),
    }
    return np.concatenate([_captioned(picture, text) for text, picture in pictures.items()], axis=1)


def _captioned(picture: np.ndarray, text: str) -> np.ndarray:
    bar = np.zeros((CAPTION, picture.shape[1], 3), np.uint8)
    cv2.putText(bar, text, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([bar, picture])


@cache
def _legend(size: int) -> np.ndarray:
    """The colour wheel (size, size, 3): each pixel has the colour of a displacement from the centre to that pixel."""
    along = np.linspace(-1, 1, size)
    return flow_colours(np.stack(np.meshgrid(along, along), axis=-1), 1.0)


@cache
def _wheel() -> np.ndarray:
    """55 colours (55, 3) from 0 to 1: six hue ranges between primaries, with the perceptual spacing of Baker et al."""
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], float)
    lengths = (15, 6, 4, 11, 13, 6)
    return np.concatenate(
        [
            first + (second - first) * np.floor(255 * np.arange(length) / length)[:, None] / 255
            for (first, second), length in zip(pairwise(corners), lengths, strict=True)
        ]
    )
