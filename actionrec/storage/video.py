"""Decoding of video clips and images.

The frame count of a container is unreliable: `CAP_PROP_FRAME_COUNT` of real HMDB51 clips is one more than the number of
frames that can be read. So frames are counted by reading, and read in sequence instead of by seeking.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from actionrec.system.errors import ActionRecError

# FFmpeg's own lines about damaged files name no file. OpenCV reads the variable when it opens the first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
# Worker processes decode clips in parallel, so OpenCV and FFmpeg use one thread per clip.
cv2.setNumThreads(0)
_ONE_THREAD = (cv2.CAP_ANY, [cv2.CAP_PROP_N_THREADS, 1])

_USUAL_RATE = 25.0  # frames a second, for containers whose own rate cannot be right

_JPEG = b"\xff\xd8"
_LARGE = 300_000  # bytes; for smaller images, reading the size takes longer than decoding at a reduced size saves
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def iter_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a clip in order, each (H, W, 3) uint8 RGB.

    Raises:
        ActionRecError: the file is missing, or none of its frames can be decoded.
    """
    for frame in _iter_bgr(path):
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def iter_gray(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a clip in order, each (H, W) uint8 gray."""
    for frame in _iter_bgr(path):
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


class Grabbed(NamedTuple):
    """A frame that is decoded, but not yet converted to an image.

    Args:
        time: seconds since the first frame, by the timestamps of the file.
        image: converts the frame to (H, W, 3) uint8 BGR; to be called before the next frame is taken.
    """

    time: float
    image: Callable[[], np.ndarray]


def iter_grabbed(path: Path) -> Iterator[Grabbed]:
    """Yield the frames of a clip in order, with their times; only wanted frames have to be converted to images.

    Times grow from frame to frame. A frame whose timestamp does not, as in files without timestamps, follows the frame
    before it at the container's rate.

    Raises:
        ActionRecError: the file is missing, or none of its frames can be decoded.
    """
    capture = _open(path)

    def image() -> np.ndarray:
        read, frame = capture.retrieve()
        if not read:
            raise _unreadable(path)
        return frame

    try:
        if not capture.grab():
            raise _unreadable(path)
        image()  # grab also succeeds on files that are no video
        period = 1 / usable_rate(capture.get(cv2.CAP_PROP_FPS))
        first, time = capture.get(cv2.CAP_PROP_POS_MSEC), 0.0
        yield Grabbed(time, image)
        while capture.grab():
            stamp = (capture.get(cv2.CAP_PROP_POS_MSEC) - first) / 1000
            time = stamp if stamp > time else time + period
            yield Grabbed(time, image)
    finally:
        capture.release()


def usable_rate(rate: float) -> float:
    """The frames a second that a container or a camera says, or the usual rate if its own cannot be right."""
    return rate if 1 <= rate <= 1000 else _USUAL_RATE


class Probe(NamedTuple):
    """Values of a clip's container; `frames` often differs from the number of frames that can be read."""

    frames: int
    height: int
    width: int
    rate: float  # frames a second


def probe(path: Path) -> Probe:
    """Read the container of a clip without decoding frames.

    Raises:
        ActionRecError: the file is missing or no video.
    """
    capture = _open(path)
    keys = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FPS)
    frames, height, width, rate = (capture.get(key) for key in keys)
    capture.release()
    return Probe(int(frames), int(height), int(width), rate)


def resize_short_side(frame: np.ndarray, short_side: int) -> np.ndarray:
    """The frame resized so that its shorter side has `short_side` pixels; the aspect ratio is kept."""
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    size = max(round(width * scale), short_side), max(round(height * scale), short_side)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def count_frames(path: Path) -> int:
    """Number of frames that can be read."""
    capture = _open(path)
    count = int(capture.read()[0])  # read decodes, while grab also succeeds on files that are no video
    while count and capture.grab():
        count += 1
    capture.release()
    if not count:
        raise _unreadable(path)
    return count


def ends_early(frames: int, announced: int) -> bool:
    """Whether a file is probably truncated: `frames` can be read, and its container announces `announced` frames.

    Complete files announce up to a sixth too many frames, so this is a reason to warn and not to refuse a file.
    """
    return frames + 1 < 0.8 * announced


def read_frames(path: Path, indices: Sequence[int]) -> list[np.ndarray]:
    """Frames at `indices` (any order, may repeat), each (H, W, 3) uint8 RGB, in one pass over the clip.

    Raises:
        ActionRecError: the clip cannot be decoded up to the last index.
    """
    capture = _open(path)
    wanted, frames = set(indices), {}
    for index in range(max(wanted) + 1):
        if not capture.grab():
            break
        if index in wanted:  # retrieve converts a frame to an image, which the other frames do not need
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
        enough: minimum short side in pixels; a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size if its short side
            then still has `enough` pixels, which takes a fraction of the time. None keeps the full size.

    Raises:
        ActionRecError: the file is missing or not an image.
    """
    # imdecode instead of imread, which prints warnings, and on Windows cannot open some non-ASCII paths.
    try:
        data = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)  # opening a pipe would block
        image = cv2.imdecode(data, _REDUCED[_reduction(data, enough)])
    except (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError):  # Pillow raises SyntaxError
        image = None
    if image is None:
        raise ActionRecError(f"cannot read the image {path}; replace the file, or take it out of the list")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _reduction(data: np.ndarray, enough: int | None) -> int:
    """Factor by which an encoded image may be shrunk while it is decoded; 1 unless it is a large JPEG."""
    if enough is None or data.size < _LARGE or data[:2].tobytes() != _JPEG:  # other formats are shrunk with aliasing
        return 1
    with Image.open(BytesIO(data.tobytes())) as image:  # Pillow reads only the header here
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
    """Whether a file starts with text, such as a playlist, for which FFmpeg would open the files it lists."""
    with path.open("rb") as file:
        start = file.read(32)
    return len(start) > 0 and all(9 <= byte <= 13 or 32 <= byte < 127 for byte in start)


def _unreadable(path: Path) -> ActionRecError:
    return ActionRecError(f"cannot decode the video {path}; replace the file, or leave it out")
