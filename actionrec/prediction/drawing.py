"""The panel below the frames of an annotated video: the action, its probability, the flow, and the course over time."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

NARROWEST, LONGEST = 480, 1920  # width of the smallest canvas, and longest side of the largest one, in pixels
BACKGROUND, TROUGH, TEXT, FAINT = (24, 24, 24), (64, 64, 64), (255, 255, 255), (176, 176, 176)  # RGB
NOTHING = (128, 128, 128)  # colour of no action
# Okabe and Ito's colours, which are distinct for the colour-blind, without black.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


class Bar(NamedTuple):
    """A coloured part of the time axis, from `start` to `end` as fractions of the video."""

    start: float
    end: float
    colour: tuple[int, int, int]


class Caption(NamedTuple):
    """Content of a panel.

    Args:
        title: the action.
        probability: length of the bar, from 0 to 1.
        colour: of the bar, RGB.
        detail: second line of text.
        bars: parts of the time axis; None draws no time axis.
    """

    title: str
    probability: float
    colour: tuple[int, int, int]
    detail: str
    bars: tuple[Bar, ...] | None = None


def colour_of(label: int | None) -> tuple[int, int, int]:
    """Colour (RGB) of an action; after seven actions the colours repeat."""
    return NOTHING if label is None else PALETTE[label % len(PALETTE)]


def canvas_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a frame on the canvas, both even, as video encoders need them.

    Small frames are enlarged, so that the text is readable, and frames of more than `LONGEST` pixels are reduced.
    """
    scale = min(max(1.0, NARROWEST / width), LONGEST / max(height, width))
    return max(round(height * scale / 2), 1) * 2, max(round(width * scale / 2), 1) * 2


class Inset(NamedTuple):
    """A picture (h, w, 3) uint8 RGB in the panel, with its title."""

    title: str
    picture: np.ndarray


def annotated(
    frame: np.ndarray, caption: Caption, at: float, flow: np.ndarray | None, looks: Sequence[Inset] = ()
) -> np.ndarray:
    """A frame with a panel below it, so that the panel hides no part of the frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        caption: content of the panel.
        at: the frame's place on the time axis, from 0 to 1.
        flow: picture (h, w, 3) uint8 RGB of the optical flow, shown at the right of the panel; None shows none.
        looks: pictures in a row below the panel.

    Returns:
        (H', W', 3) uint8 RGB; H' and W' are even.
    """
    height, width = canvas_size(*frame.shape[:2])
    unit = max(width // 26, 18)
    inset = None if flow is None else _inset(Inset("flow", flow), width / 4, 8 * unit, unit)
    free = width - (0 if inset is None else inset.shape[1] + unit // 2)
    tall = max(_rows(caption) * unit, 0 if inset is None else inset.shape[0])
    panel = np.full((tall + tall % 2, width, 3), BACKGROUND, np.uint8)
    written = _written(caption, free, unit)
    panel[: written.shape[0], :free] = written
    if inset is not None:
        panel[: inset.shape[0], width - inset.shape[1] :] = inset
    if caption.bars is not None:
        left, right, bottom = unit // 2, free - unit // 2, 4 * unit + unit // 2
        place = left + round(min(max(at, 0.0), 1.0) * (right - left - 1))
        cv2.rectangle(panel, (place - 1, bottom - unit // 2 - 3), (place + 1, bottom + 2), TEXT, cv2.FILLED)
    shrinks = height < frame.shape[0]
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.concatenate([resized, panel, *([_row(looks, width, unit)] if looks else [])])


def _row(looks: Sequence[Inset], width: int, unit: int) -> np.ndarray:
    """Pictures side by side, each with the same share of the row, of at most a third; the height is even."""
    gap = unit // 2
    share = width / max(len(looks), 3) - gap
    shown = [_inset(each, share, share, unit) for each in looks]
    tall = max(each.shape[0] for each in shown) + gap
    row = np.full((tall + tall % 2, width, 3), BACKGROUND, np.uint8)
    for number, each in enumerate(shown):
        _paste(row, each, gap // 2 + round(number * (share + gap)), 0)
    return row


def _inset(inset: Inset, widest: float, highest: float, unit: int) -> np.ndarray:
    """The picture of an inset, scaled to at most `widest` by `highest` pixels, with the title on it."""
    picture = inset.picture
    scale = min(widest / picture.shape[1], highest / picture.shape[0])
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    found = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    _paste(found, _words(inset.title, unit * 2 // 3, (0, 0, 0), size[0], (255, 255, 255)), 0, 0)
    return found


def _rows(caption: Caption) -> int:
    """Height of a panel without flow, in units."""
    return 4 if caption.bars is None else 5


@lru_cache(maxsize=64)
def _written(caption: Caption, width: int, unit: int) -> np.ndarray:
    """Title, bar, detail and time axis (h, width, 3), without the mark of the current time."""
    panel = np.full((_rows(caption) * unit, width, 3), BACKGROUND, np.uint8)
    left, right = unit // 2, width - unit // 2
    number = _words(f"{caption.probability:.0%}", unit, TEXT, right - left)
    title = _words(caption.title, unit, TEXT, max(right - left - number.shape[1] - unit // 2, 1))
    _paste(panel, title, left, unit // 4)
    _paste(panel, number, right - number.shape[1], unit // 4)
    top = unit // 4 + unit * 3 // 2
    bottom = top + unit // 2
    cv2.rectangle(panel, (left, top), (right - 1, bottom), TROUGH, cv2.FILLED)
    filled = round(caption.probability * (right - left))
    if filled:
        cv2.rectangle(panel, (left, top), (left + filled - 1, bottom), caption.colour, cv2.FILLED)
    _paste(panel, _words(caption.detail, unit * 3 // 4, FAINT, right - left), left, bottom + unit // 4)
    if caption.bars is not None:
        bottom = 4 * unit + unit // 2
        top, long = bottom - unit // 2, right - left
        cv2.rectangle(panel, (left, top), (right - 1, bottom), TROUGH, cv2.FILLED)
        for bar in caption.bars:
            ends = left + round(bar.start * long), max(left + round(bar.end * long) - 1, left)
            cv2.rectangle(panel, (ends[0], top), (ends[1], bottom), bar.colour, cv2.FILLED)
    return panel


def _paste(panel: np.ndarray, picture: np.ndarray, left: int, top: int) -> None:
    rows, columns = min(picture.shape[0], panel.shape[0] - top), min(picture.shape[1], panel.shape[1] - left)
    panel[top : top + rows, left : left + columns] = picture[:rows, :columns]


def _words(
    text: str, size: int, colour: Sequence[int], room: int, background: Sequence[int] = BACKGROUND
) -> np.ndarray:
    """A picture of a text; a text that is wider than `room` pixels gets smaller letters, and is cut at half size.

    OpenCV's fonts have no letters outside of ASCII, and names of actions may have some.
    """
    font = _font(size)
    if (long := font.getlength(text)) > room:
        font = _font(max(int(size * room / long), size // 2, 6))
    while len(text) > 2 and font.getlength(text) > room:
        text = text[:-2] + "…"
    ascent, descent = font.getmetrics()
    picture = Image.new("RGB", (max(int(font.getlength(text)) + 1, 1), ascent + descent), tuple(background))
    ImageDraw.Draw(picture).text((0, 0), text, tuple(colour), font)
    return np.asarray(picture)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
