"""One file a clip: a zip of `header.json` and numbered JPEGs, of which any is read without the rest."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.settings.untrusted import printable, reason
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path, sha256, stamp

JPEG_QUALITY = 95
_SUFFIX = ".jpg"
_LOCAL_HEADER = 30  # bytes, see the ZIP specification
_LARGEST_HEADER = 1 << 24  # bytes
# What zipfile and json make of flipped bytes: of versions, methods, flags, sizes, names, and packed data.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,  # of places before the file's start
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OverflowError,
    RecursionError,
)


def clip_path(folder: Path, clip: Clip) -> Path:
    """The file of a clip in a folder of such files; an alias, which is unique, says the action as well.

    Two folders of one action may both hold `IMG_0001.mp4`, and one folder `IMG_0001.mp4` and `IMG_0001.mov`.
    """
    return folder / f"{clip.alias or f'{clip.action}/{clip.path.stem}'}.zip"


def identify(clip: Clip) -> dict[str, Any]:
    """Size and hash of the clip, by which a later run knows whether a file was made from this very one."""
    try:
        return {"source_bytes": clip.path.stat().st_size, "source_sha256": sha256(clip.path)}
    except OSError as error:
        raise ActionRecError(f"cannot read {clip.path}: {error.strerror}") from None


def write(path: Path, pictures: Iterable[tuple[int, np.ndarray]], header: Callable[[], dict[str, Any]]) -> None:
    """Write pictures by their number, (H, W) gray or (H, W, 3) BGR uint8, as they come, then what `header` gives.

    An error leaves no file. The same pictures and header give the same bytes.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, picture in pictures:
            _add(archive, _name(number), encode(picture))
        _add(archive, "header.json", json.dumps(header(), sort_keys=True).encode())


def encode(picture: np.ndarray) -> bytes:
    """A picture as it is kept."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def decode(data: bytes, mode: int) -> np.ndarray:
    """A kept picture, as `mode` of `cv2.imdecode` has it.

    Raises:
        ValueError: the data are no picture.
    """
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    if picture is None:
        raise ValueError("no picture")
    return picture


def read(path: Path, numbers: Iterable[int], mode: int, mend: str) -> Iterator[np.ndarray]:
    """Yield the pictures of those numbers, opening the file once and holding one at a time; see `decode`.

    Raises:
        ActionRecError: the file is missing or damaged, or has no such picture; `mend` ends the message.
    """
    entries = _entries(path, stamp(path) if path.is_file() else None, mend)
    with path.open("rb") as file:
        for number in numbers:
            try:
                picture = decode(_data(file, entries, number), mode)
            except (KeyError, ValueError, OSError, struct.error, cv2.error):
                raise ActionRecError(f"{path} has no readable picture {number}; {mend}") from None
            yield picture


def read_header(path: Path, mend: str) -> dict[str, Any]:
    """What the file says of itself.

    Raises:
        ActionRecError: the file is missing or damaged; `mend` ends the message.
    """
    with _open(path, mend) as archive:
        try:
            if archive.getinfo("header.json").file_size > _LARGEST_HEADER:
                raise ValueError("it is too large")
            header = json.loads(archive.read("header.json"))
            if not isinstance(header, dict):
                raise ValueError("it is no mapping")
        except (KeyError, *_DAMAGE) as error:
            raise ActionRecError(f"{path} has no readable header ({reason(error)}); {mend}") from None
    return header


def _open(path: Path, mend: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ActionRecError(f"there is no {path}; {mend}") from None
    except _DAMAGE as error:
        raise ActionRecError(f"{path} is damaged ({reason(error)}); {mend}") from None


@lru_cache(8192)  # to find them anew for every sample takes a fifth of a sample's time
def _entries(path: Path, version: tuple[int, int] | None, mend: str) -> np.ndarray:
    """A row for each picture of that version of the file: its number, where its entry starts, bytes, and CRC."""
    rows = []
    with _open(path, mend) as archive:
        size = path.stat().st_size
        for info in archive.infolist():
            if info.filename == "header.json":
                continue
            number = re.fullmatch(rf"(\d{{5,9}}){re.escape(_SUFFIX)}", info.filename, re.ASCII)
            inside = 0 <= info.header_offset <= size - info.file_size
            if not number or info.compress_type != zipfile.ZIP_STORED or not inside:
                raise ActionRecError(f"{path} is damaged (at {printable(info.filename)}); {mend}")
            rows.append((int(number[1]), info.header_offset, info.file_size, info.CRC))
    rows.sort()
    if len({number for number, *_ in rows}) < len(rows):
        raise ActionRecError(f"{path} is damaged (it has a picture twice); {mend}")
    return np.array(rows, np.int64).reshape(-1, 4)


def _data(file: BinaryIO, entries: np.ndarray, number: int) -> bytes:
    """The stored bytes of a picture.

    Raises:
        KeyError: there is no such picture.
        ValueError: its bytes have changed.
    """
    row = int(np.searchsorted(entries[:, 0], number))
    if row == len(entries) or entries[row, 0] != number:
        raise KeyError(number)
    _, start, size, crc = entries[row].tolist()
    file.seek(start)
    header = file.read(_LOCAL_HEADER)
    file.seek(sum(struct.unpack_from("<HH", header, 26)), io.SEEK_CUR)  # its name, and what zip may add
    data = file.read(size)
    if zlib.crc32(data) != crc:
        raise ValueError("its bytes have changed")
    return data


def _name(number: int) -> str:
    return f"{number:05d}{_SUFFIX}"


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed time: the same clip and settings give the same bytes, whenever they are written.
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
