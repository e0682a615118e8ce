"""Picture files: one zip per clip, of `header.json` and numbered JPEGs, with random access to each JPEG."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.settings.values import printable, reason
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path, sha256, stamp

JPEG_QUALITY = 95
_SUFFIX = ".jpg"
_LOCAL_HEADER = 30  # bytes of a local file header in the ZIP specification, without name and extra field
_LARGEST_HEADER = 1 << 24  # bytes of header.json
# Exceptions of zipfile and json for flipped bytes in versions, methods, flags, sizes, names and packed data.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,  # negative offsets
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OverflowError,
    RecursionError,
)


def clip_path(folder: Path, clip: Clip) -> Path:
    """Path of a clip's picture file in a folder of picture files; an alias, which is unique, holds the action as well.

    Two folders of one action may both hold `IMG_0001.mp4`, and one folder `IMG_0001.mp4` and `IMG_0001.mov`.
    """
    return folder / f"{clip.alias or f'{clip.action}/{clip.path.stem}'}.zip"


def identify(clip: Clip) -> dict[str, Any]:
    """Size and SHA-256 of the clip, to detect later whether a picture file was made from the same video."""
    try:
        return {"source_bytes": clip.path.stat().st_size, "source_sha256": sha256(clip.path)}
    except OSError as error:
        raise ActionRecError(f"cannot read {clip.path}: {error.strerror}") from None


class Writer:
    """Writes one picture file, see `create`."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive

    def add(self, number: int, picture: np.ndarray) -> None:
        """Write a picture, (H, W) gray or (H, W, 3) BGR uint8, under its number."""
        self._write(f"{number:05d}{_SUFFIX}", encode(picture))

    def add_header(self, header: dict[str, Any]) -> None:
        """Write the header as JSON."""
        self._write("header.json", json.dumps(header, sort_keys=True).encode())

    def _write(self, name: str, data: bytes) -> None:
        # A fixed time, so that the same clip and settings give bit-identical files.
        self._archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


@contextmanager
def create(path: Path) -> Iterator[Writer]:
    """Yield the writer of a new picture file; an error in the block leaves no file."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        yield Writer(archive)


def encode(picture: np.ndarray) -> bytes:
    """A picture (H, W) gray or (H, W, 3) BGR uint8 as a JPEG."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def decode(data: bytes, mode: int) -> np.ndarray:
    """Decode an image file's bytes; `mode` is a flag of `cv2.imdecode`.

    Raises:
        ValueError: the data are no image.
    """
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    if picture is None:
        raise ValueError("no picture")
    return picture


def read(path: Path, numbers: Iterable[int], mode: int, hint: str) -> Iterator[np.ndarray]:
    """Yield the pictures with these numbers, one at a time; `mode` is a flag of `cv2.imdecode`.

    Raises:
        ActionRecError: the file is missing or damaged, or lacks a picture; the message ends with `hint`.
    """
    entries = _entries(path, stamp(path) if path.is_file() else None, hint)
    with path.open("rb") as file:
        for number in numbers:
            try:
                picture = decode(_data(file, entries, number), mode)
            except (KeyError, ValueError, OSError, struct.error, cv2.error):
                raise ActionRecError(f"{path} has no readable picture {number}; {hint}") from None
            yield picture


def read_header(path: Path, hint: str) -> dict[str, Any]:
    """The header of a picture file.

    Raises:
        ActionRecError: the file is missing or damaged; the message ends with `hint`.
    """
    with _open(path, hint) as archive:
        try:
            if archive.getinfo("header.json").file_size > _LARGEST_HEADER:
                raise ValueError("it is too large")
            header = json.loads(archive.read("header.json"))
            if not isinstance(header, dict):
                raise ValueError("it is no mapping")
        except (KeyError, *_DAMAGE) as error:
            raise ActionRecError(f"{path} has no readable header ({reason(error)}); {hint}") from None
    return header


def _open(path: Path, hint: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ActionRecError(f"there is no {path}; {hint}") from None
    except _DAMAGE as error:
        raise ActionRecError(f"{path} is damaged ({reason(error)}); {hint}") from None


@lru_cache(8192)  # reading the zip index again for every sample takes 20 % of the sample's load time
def _entries(path: Path, version: tuple[int, int] | None, hint: str) -> np.ndarray:
    """Index of a picture file: rows of number, offset of the local header, bytes, and CRC, sorted by number.

    `version` is the stamp of the file, so that a rewritten file has another cache entry.
    """
    rows = []
    with _open(path, hint) as archive:
        size = path.stat().st_size
        for info in archive.infolist():
            if info.filename == "header.json":
                continue
            match = re.fullmatch(rf"(\d{{5,9}}){re.escape(_SUFFIX)}", info.filename, re.ASCII)
            inside = 0 <= info.header_offset <= size - info.file_size
            if not match or info.compress_type != zipfile.ZIP_STORED or not inside:
                raise ActionRecError(f"{path} is damaged (at {printable(info.filename)}); {hint}")
            rows.append((int(match[1]), info.header_offset, info.file_size, info.CRC))
    rows.sort()
    if len({number for number, *_ in rows}) < len(rows):
        raise ActionRecError(f"{path} is damaged (two pictures have one number); {hint}")
    return np.array(rows, np.int64).reshape(-1, 4)


def _data(file: BinaryIO, entries: np.ndarray, number: int) -> bytes:
    """The JPEG with this number, read at its offset; the local header before it gives the length of its name.

    Reading at the offset instead of through `zipfile` avoids parsing the whole index for each sample, see `_entries`.

    Raises:
        KeyError: there is no picture with this number.
        ValueError: the CRC of the bytes is wrong.
    """
    row = int(np.searchsorted(entries[:, 0], number))
    if row == len(entries) or entries[row, 0] != number:
        raise KeyError(number)
    _, start, size, crc = entries[row].tolist()
    file.seek(start)
    header = file.read(_LOCAL_HEADER)
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    file.seek(name_bytes + extra_bytes, io.SEEK_CUR)
    data = file.read(size)
    if zlib.crc32(data) != crc:
        raise ValueError("its CRC is wrong")
    return data
