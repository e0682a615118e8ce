"""MP4 files with a varying frame rate or with a rotation, which OpenCV cannot write."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def write(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write frames (H, W, 3) uint8 BGR at 25 frames a second."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def change(path: Path, name: bytes, content: Callable[[bytes], bytes]) -> None:
    """Replace the content of every box of that name (ISO/IEC 14496-12); OpenCV writes the pictures before `moov`."""
    data = path.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    # The edit list has the old duration, and FFmpeg would leave out the frames behind it; `free` boxes are skipped.
    path.write_bytes(_changed(data, name, content).replace(b"edts", b"free"))


def durations(*runs: tuple[int, int]) -> Callable[[bytes], bytes]:
    """The content of `stts`: runs of (number of frames, duration of each in multiples of the first duration)."""

    def content(old: bytes) -> bytes:
        [unit] = struct.unpack_from(">I", old, 12)
        return old[:4] + struct.pack(">I", len(runs)) + b"".join(struct.pack(">II", n, d * unit) for n, d in runs)

    return content


def rotated(old: bytes) -> bytes:
    """The content of `tkhd` with the matrix of a rotation by 90 degrees clockwise, as phones write it."""
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    return old[:40] + matrix + old[76:]


def _changed(data: bytes, name: bytes, content: Callable[[bytes], bytes]) -> bytes:
    found, start = b"", 0
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        inside = data[start + 8 : start + size]
        if kind == name:
            inside = content(inside)
        elif kind in _PARENTS:
            inside = _changed(inside, name, content)
        found += struct.pack(">I4s", len(inside) + 8, kind) + inside
        start += size
    return found
