"""One file a clip: a zip of `header.json` and numbered JPEGs, of which any is read without the rest."""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from actionrec.files import atomic_path, sha256

JPEG_QUALITY = 95


def clip_path(folder: Path, clip: Clip) -> Path:
    """The file of a clip in a folder of such files."""
    return folder / clip.action / f"{clip.path.stem}.zip"


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
    with _open(path, mend) as archive:
        for number in numbers:
            try:
                picture = decode(archive.read(_name(number)), mode)
            except (KeyError, ValueError, zipfile.BadZipFile, cv2.error):
                raise ActionRecError(f"{path} has no readable picture {number}; {mend}") from None
            yield picture


def read_header(path: Path, mend: str) -> dict[str, Any]:
    """What the file says of itself.

    Raises:
        ActionRecError: the file is missing or damaged; `mend` ends the message.
    """
    with _open(path, mend) as archive:
        try:
            return json.loads(archive.read("header.json"))
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ActionRecError(f"{path} has no readable header ({error}); {mend}") from None


def _open(path: Path, mend: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ActionRecError(f"there is no {path}; {mend}") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ActionRecError(f"{path} is damaged ({error}); {mend}") from None


def _name(number: int) -> str:
    return f"{number:05d}.jpg"


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed time: the same clip and settings give the same bytes, whenever they are written.
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
