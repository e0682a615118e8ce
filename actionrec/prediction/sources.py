"""The files that a `source` names: a video, an image, a folder, a pattern, or a list of them."""

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from actionrec.datasets.records import VIDEO_SUFFIXES, is_there, read_lines
from actionrec.system.errors import ActionRecError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # in any letter case
LIST_SUFFIX = ".txt"
_PATTERN = "*?["
log = logging.getLogger(__name__)


def find(source: str | Sequence[str], images: bool) -> list[Path]:
    """The files that `source` names, each once, in the order of `source`; those of a folder are sorted.

    A file that is named by its path, or by a list, need not exist: `check` says so when its turn comes.

    Args:
        source: paths of files, folders, patterns such as `clips/*.mp4`, or lists (`.txt`) with one path in a line,
            relative to the folder of the list.
        images: whether the images in folders are taken, too.

    Raises:
        ActionRecError: a folder or a pattern has no file, or a list is empty or cannot be read.
    """
    named = [source] if isinstance(source, str) else source
    return list(dict.fromkeys(path for each in named for path in _files(Path(each), images)))


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def check(path: Path) -> None:
    """Raise ActionRecError unless a file exists, can be read, and holds anything."""
    if not is_there(path):
        raise ActionRecError(f"{path}: no such file; correct source=")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ActionRecError(f"{path} cannot be read ({error.strerror}); correct its permissions") from None
    if empty:
        raise ActionRecError(f"{path} is empty; copy the file again")


def _files(path: Path, images: bool) -> Iterator[Path]:
    if path.is_dir():
        yield from _in_folder(path, images)
    elif path.suffix.lower() == LIST_SUFFIX:
        lines = [line.text.strip() for line in read_lines(path)]
        if not lines:
            raise ActionRecError(f"source={path} names no file; write one path in each line")
        for line in lines:
            named = path.parent / line
            yield from [named] if named.suffix.lower() == LIST_SUFFIX else _files(named, images)  # lists do not nest
    elif any(sign in str(path) for sign in _PATTERN) and not is_there(path):
        matched = [Path(each) for each in sorted(glob.glob(str(path), recursive=True))]
        if not matched:
            raise ActionRecError(f"source={path} matches no file; correct the pattern, and quote it in a shell")
        for each in matched:
            yield from [each] if each.is_file() else []
    else:
        yield path


def _in_folder(folder: Path, images: bool) -> list[Path]:
    suffixes = (*VIDEO_SUFFIXES, *(IMAGE_SUFFIXES if images else ()))
    unreadable: list[OSError] = []
    inside = (Path(place, name) for place, _, names in os.walk(folder, onerror=unreadable.append) for name in names)
    files = sorted(path for path in inside if path.suffix.lower() in suffixes and is_there(path))
    found = [path for path in files if not path.name.startswith(".")]
    if unreadable and not found:
        raise ActionRecError(f"source={folder} cannot be read ({unreadable[0].strerror}); correct its permissions")
    for error in unreadable:
        log.warning("%s cannot be read (%s) and is left out", error.filename, error.strerror)
    if not found:
        kinds = "videos or images" if images else "videos"
        raise ActionRecError(f"source={folder} has no {kinds} ({', '.join(suffixes)}); name another folder")
    return found
