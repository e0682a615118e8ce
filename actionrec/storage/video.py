"""Decoding of video clips.

Frame counts of containers lie (on real HMDB51 clips `CAP_PROP_FRAME_COUNT` is one more than what can be read), so
frames are counted by reading, and read in sequence rather than sought.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from actionrec.system.errors import ActionRecError

# One clip at a time is small; parallelism is over clips, in worker processes.
cv2.setNumThreads(0)
_ONE_THREAD = (cv2.CAP_ANY, [cv2.CAP_PROP_N_THREADS, 1])

_JPEG = b"\xff\xd8"
_LARGE = 300_000  # bytes; to look at the size of smaller images takes longer than it saves
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def iter_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a clip in order, each (H, W, 3) uint8 RGB.

    Raises:
        ActionRecError: the file is missing, or not one frame of it can be decoded.
    """
    for frame in _iter_bgr(path):
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def iter_gray(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a clip in order, each (H, W) uint8 gray."""
    for frame in _iter_bgr(path):
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


class Probe(NamedTuple):
    """What a clip's container says; its number of frames is often not what can be read."""

    frames: int
    height: int
    width: int
    rate: float  # frames a second


def probe(path: Path) -> Probe:
    """Look at a clip without decoding it.

    Raises:
        ActionRecError: the file is missing or no video.
    """
    capture = _open(path)
    keys = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FPS)
    frames, height, width, rate = (capture.get(key) for key in keys)
    capture.release()
    return Probe(int(frames), int(height), int(width), rate)


def resize_short_side(frame: np.ndarray, short_side: int) -> np.ndarray:
    """The frame with its shorter side `short_side` pixels long, its proportions kept."""
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    size = max(round(width * scale), short_side), max(round(height * scale), short_side)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def count_frames(path: Path) -> int:
    """Number of frames that can be read."""
    capture = _open(path)
    count = int(capture.read()[0])  # what can be grabbed need not be a picture, as in a text that is called .jpg
    while count and capture.grab():
        count += 1
    capture.release()
    if not count:
        raise _unreadable(path)
    return count


def ends_early(frames: int, announced: int) -> bool:
    """Whether a file was probably cut short, by the frames that can be read and those that its container announces.

    Whole files announce up to a sixth too many, so no file is refused for it.
    """
    return frames + 1 < 0.8 * announced


def read_frames(path: Path, indices: Sequence[int]) -> list[np.ndarray]:
    """Frames at `indices` (any order, may repeat), each (H, W, 3) uint8 RGB, in one pass over the clip.

    Raises:
        ActionRecError: the clip cannot be decoded as far as the last of them.
    """
    capture = _open(path)
    wanted, frames = set(indices), {}
    for index in range(max(wanted) + 1):
        if not capture.grab():
            break
        if index in wanted:  # only the wanted frames are converted to an image
            read, frame = capture.retrieve()
            if not read:
                break
            frames[index] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()
    if len(frames) < len(wanted):
        raise ActionRecError(
            f"{path} has no frame {max(wanted)}; the file is damaged or shorter than when it was indexed"
        )
    return [frames[index] for index in indices]


def read_image(path: Path, enough: int | None = None) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB.

    Args:
        path: the file.
        enough: pixels that the shorter side needs; a large JPEG is decoded at a half, a quarter or an eighth of its
            size while that leaves as many, which takes a fraction of the time. None keeps its size.

    Raises:
        ActionRecError: the file is missing or not an image.
    """
    # imdecode rather than imread: imread prints a warning of its own, and cannot open every non-ASCII path on Windows.
    try:
        data = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)  # to open a pipe would wait
        image = cv2.imdecode(data, _REDUCED[_reduction(data, enough)])
    except (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError):  # Pillow's, of broken headers
        image = None
    if image is None:
        raise ActionRecError(f"cannot read the image {path}; replace the file, or take it out of the list")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _reduction(data: np.ndarray, enough: int | None) -> int:
    """By how much an encoded image may be shrunk while it is decoded."""
    if enough is None or data.size < _LARGE or data[:2].tobytes() != _JPEG:  # others would alias
        return 1
    with Image.open(BytesIO(data.tobytes())) as image:  # reads the header only
        return max(factor for factor in _REDUCED if factor == 1 or min(image.size) >= factor * enough)


def _iter_bgr(path: Path) -> Iterator[np.ndarray]:
    capture = _open(path)
    read, frame = capture.read()
    if not read:
        raise _unreadable(path)
    while read:
        yield frame
        read, frame = capture.read()
    capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path), *_ONE_THREAD) if path.is_file() and not _is_text(path) else None
    if capture is None or not capture.isOpened():
        raise _unreadable(path)
    return capture


def _is_text(path: Path) -> bool:
    """Whether a file begins as a text, as playlists do, in whose place FFmpeg would read the files that they name."""
    with path.open("rb") as file:
        start = file.read(32)
    return len(start) > 0 and all(9 <= byte <= 13 or 32 <= byte < 127 for byte in start)


def _unreadable(path: Path) -> ActionRecError:
    return ActionRecError(f"cannot decode the video {path}; replace the file, or take it out of the lists")
