"""Records of the data sets and what every split of them must satisfy."""

import codecs
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from actionrec.system.errors import ActionRecError

MAX_NAME_BYTES = 255  # what file systems take
VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg")  # of clips, in any letter case
log = logging.getLogger(__name__)


class Still(NamedTuple):
    """One image and its canonical action."""

    path: Path
    action: str

    @property
    def name(self) -> str:
        """Name under which scores are kept, unique within the data set."""
        return self.path.stem


class Clip(NamedTuple):
    """One video clip, its action, the source video that it was cut from, and a name where the file's own is not unique.

    Two phones both make `IMG_0001.mp4`: such clips are named `<action>/IMG_0001`.
    """

    path: Path
    action: str
    group: str
    alias: str | None = None

    @property
    def name(self) -> str:
        """Name under which scores, frames and flow are kept, unique within the data set; it may hold `/`."""
        return self.alias or self.path.stem


Record = TypeVar("Record", Still, Clip)


class Splits(NamedTuple):
    """The three disjoint parts of a data set, each of stills or of clips; `val` is carved out of the official train."""

    train: list[Any]
    val: list[Any]
    test: list[Any]


class Release(NamedTuple):
    """A data set of clips as its authors publish it, which `gather.clips` brings into place."""

    archives: tuple[str, ...]  # of the clips, by file name without suffix
    list_archives: tuple[str, ...]
    lists: tuple[str, ...]  # patterns of the lists' file names
    read: Callable[[Mapping[str, Path]], dict[str, set[str]]]  # lists by file name → `<action>/<file>` by list and part
    official: Mapping[str, int]  # clips by list and part


class Line(NamedTuple):
    """A line of a list, and where it is, as `<path>:<number>`."""

    where: str
    text: str


def read_lines(path: Path) -> list[Line]:
    """The lines of a list that are not blank; line ends may be LF, CRLF or CR.

    Byte order marks of UTF-8, which editors and concatenations leave at the start of any line, are dropped.

    Raises:
        ActionRecError: the file cannot be read, or is no UTF-8 text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ActionRecError(f"cannot read the list {path}: {error.strerror}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ActionRecError(f"{path} is UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", data[: error.start]))
        raise ActionRecError(f"{path}:{line}: not UTF-8 text; save the list as UTF-8") from None
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    unmarked = (Line(f"{path}:{number}", line.lstrip("\ufeff")) for number, line in lines)
    return [line for line in unmarked if line.text.strip()]


def check_name(name: str, where: str) -> str:
    """Return the name if it is that of a file in a folder that is known, so neither climbs out of it nor is absolute.

    Args:
        name: as a list has it.
        where: the line of the list.
    """
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise ActionRecError(f"{where}: {name[:40]!r}… is longer than a file name may be; mend the list")
    if re.search(r"[/\\\x00-\x1f\x7f]", name) or name in (".", ".."):
        raise ActionRecError(f"{where}: {name!r} is no plain file name; lists name files, without their folders")
    return name


def is_clip(path: Path) -> bool:
    """Whether a file's name is that of a clip: a video's suffix, and no dot before it, as macOS gives its additions."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def is_there(path: Path) -> bool:
    """Whether a file is on disk; one whose name no file can have, or whose folder cannot be looked into, is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def require_folder(path: Path, key: str) -> None:
    """Raise unless `path` is a folder; `key` is the setting that names it."""
    if not path.is_dir():
        raise ActionRecError(f"{key}={path} is not a folder; set {key} to where the data is, or run actionrec prepare")


def present(records: Iterable[Record], what: str, folder: Path, strict: bool) -> list[Record]:
    """The records whose files are on disk.

    Raises:
        ActionRecError: `strict`, and the disk lacks a file that the lists name.
    """
    records = list(records)
    found = [record for record in records if is_there(record.path)]
    missing = len(records) - len(found)
    if missing:
        first = next(record.path.name for record in records if not is_there(record.path))
        if strict:
            raise ActionRecError(
                f"{missing} of the {len(records)} {what} that the lists name are not under {folder} (first: {first}); "
                "complete the folder, or set data.strict=false to use only what is on disk"
            )
        log.warning("%d of the %d %s that the lists name are not on disk and left out", missing, len(records), what)
    return found


def require_clips(clips: list[Clip], actions: Sequence[str], videos: Path, key: str) -> list[Clip]:
    """Return the clips unless there is none; `key` is the setting that names the folder `videos`."""
    if not clips:
        raise ActionRecError(f"no clips of {', '.join(actions)} under {videos}; check {key} and data.actions")
    return clips


def require_filled(splits: Splits, actions: Sequence[str], what: str) -> Splits:
    """Return `splits` unless a part is empty or an action has no training record."""
    for name, part in zip(splits._fields, splits, strict=True):
        if not part:
            raise ActionRecError(
                f"no {what} in the {name} split for {', '.join(actions)}; check data.actions and paths"
            )
    if absent := [action for action in actions if action not in {record.action for record in splits.train}]:
        raise ActionRecError(
            f"no {what} to train {', '.join(absent)} on; leave out of data.actions what is not on disk"
        )
    return splits


def shared_sources(first: Iterable[Clip], second: Iterable[Clip]) -> set[str]:
    """Source videos with clips on both sides."""
    return {clip.group for clip in first} & {clip.group for clip in second}
