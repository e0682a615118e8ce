"""Tiles and grids of pictures; all are (H, W, 3) uint8 RGB."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from actionrec.streams import create_all

WIDTH = 224  # least width of a picture in a tile; captions need the room
LINE = 20  # pixels from one line of a caption to the next
GAP = 6  # pixels between tiles
BLACK, RED = (0, 0, 0), (190, 30, 45)
_FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.5


def sample_pictures(sample: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Pictures (S, S, 3) uint8 RGB of a sample, by stream; streams of precomputed features are left out.

    Args:
        sample: see `datamodules.samples.Sample`.
        inputs: the data module's `inputs`.
    """
    return {
        stream: modality.picture(sample[stream].cpu())
        for stream, modality in create_all(inputs).items()
        if stream in sample and sample[stream].dim() > 1
    }


def tile(pictures: Sequence[np.ndarray], lines: Sequence[str], colour: tuple[int, int, int] = BLACK) -> np.ndarray:
    """Pictures side by side, above lines of text on white.

    Small pictures are enlarged by an integer factor, without interpolation, and then all to the size of the largest.
    """
    factor = math.ceil(WIDTH / max(picture.shape[1] for picture in pictures))
    height, width = (factor * max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    sized = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST) for picture in pictures]
    row = grid(sized, columns=len(pictures), gap=2)
    caption = np.full((LINE * len(lines) + 5, row.shape[1], 3), 255, np.uint8)
    for number, line in enumerate(lines, start=1):
        text = shortened(line, row.shape[1] - 6)
        cv2.putText(caption, text, (3, LINE * number - 4), *_FONT, colour, 1, cv2.LINE_AA)
    return np.concatenate([row, caption])


def grid(tiles: Sequence[np.ndarray], columns: int = 0, gap: int = GAP) -> np.ndarray:
    """Tiles of one size in rows, on white; the grid is about square unless `columns` is given."""
    height, width = tiles[0].shape[:2]
    columns = min(columns or max(1, round(math.sqrt(len(tiles) * height / width))), len(tiles))
    rows = math.ceil(len(tiles) / columns)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, each in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        whole[top : top + height, left : left + width] = each
    return whole


def filters(weight: Tensor, limit: int = 64) -> np.ndarray:
    """Pictures of first-convolution weights (O, C, K, K), in a grid.

    A filter is one RGB picture if C is 3, otherwise a row of C gray pictures. A weight of 0 is mid-gray, and each
    filter is scaled by its largest absolute weight.
    """
    weight = weight.detach()[:limit].float().cpu()
    scale = weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    levels = (127.5 + 127.5 * weight / scale).round().to(torch.uint8)
    factor = math.ceil(28 / weight.shape[-1])
    tiles = []
    for each in levels.numpy():
        planes = [each.transpose(1, 2, 0)] if len(each) == 3 else [np.repeat(plane[..., None], 3, 2) for plane in each]
        tiles.append(grid([enlarged(plane, factor) for plane in planes], columns=len(planes), gap=1))
    return grid(tiles)


def note(text: str) -> np.ndarray:
    """A picture with a text, shown if there are no pictures."""
    return tile([np.full((1, 2 * WIDTH, 3), 255, np.uint8)], [text])


def enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge a picture: each pixel becomes a square of `factor` by `factor` pixels."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def shortened(text: str, width: int) -> str:
    """Shorten a text in its middle to at most `width` pixels.

    OpenCV's font has ASCII only: letters lose their accents, and other characters become question marks.
    """
    bare = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    text = bare.encode("ascii", "replace").decode()
    kept = len(text)
    short = text
    while kept > 1 and cv2.getTextSize(short, *_FONT, 1)[0][0] > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}..{text[len(text) - kept // 2 :]}"
    return short
