"""Records of data sets, reading of lists, and checks that every split must pass."""

import codecs
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from actionrec.system.errors import ActionRecError

MAX_NAME_BYTES = 255  # longest file name of common file systems
# Suffixes of clips, in any letter case.
VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".m4v", ".3gp", ".mkv", ".webm", ".mpg", ".mpeg")
log = logging.getLogger(__name__)


class Still(NamedTuple):
    """One image and its canonical action."""

    path: Path
    action: str

    @property
    def name(self) -> str:
        """Name under which scores are stored, unique within the data set."""
        return self.path.stem


class Clip(NamedTuple):
    """One video clip, its action, its source video (`group`), and an alias if the file name is not unique.

    For example, `IMG_0001.mp4` of two phones have aliases such as `<action>/IMG_0001`.
    """

    path: Path
    action: str
    group: str
    alias: str | None = None

    @property
    def name(self) -> str:
        """Name under which scores, frames and flow are stored, unique within the data set; it may contain `/`."""
        return self.alias or self.path.stem


Record = TypeVar("Record", Still, Clip)


class Splits(NamedTuple):
    """The three disjoint parts of a data set, of stills or clips; `val` is carved out of the official train part."""

    train: list[Any]
    val: list[Any]
    test: list[Any]


class Release(NamedTuple):
    """Archives and lists of a published data set of clips, for `install.clips`."""

    archives: tuple[str, ...]  # file names of the archives of clips, without suffix
    list_archives: tuple[str, ...]  # file names of the archives of lists, without suffix
    lists: tuple[str, ...]  # patterns of the lists' file names
    read: Callable[[Mapping[str, Path]], dict[str, set[str]]]  # lists by file name → `<action>/<file>` by list and part
    official: Mapping[str, int]  # official number of clips by list and part
    addresses: tuple[str, ...]  # of the archives
    list_addresses: tuple[str, ...]


class Line(NamedTuple):
    """A line of a list, and its place `<path>:<number>`, for messages."""

    where: str
    text: str


def read_lines(path: Path) -> list[Line]:
    """The lines of a list that are not blank; line ends may be LF, CRLF or CR.

    UTF-8 byte order marks are removed from all lines, since concatenated files have them inside.

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
    """Return a name from a list if it is a plain file name, which cannot point to another folder (path traversal).

    Args:
        name: a file name or an action.
        where: place of the line, for messages.

    Raises:
        ActionRecError: the name is too long, or contains a separator or a control character.
    """
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise ActionRecError(
            f"{where}: {name[:40]!r}… has more than {MAX_NAME_BYTES} bytes; correct the name in the list"
        )
    if re.search(r"[/\\\x00-\x1f\x7f]", name) or name in (".", ".."):
        raise ActionRecError(f"{where}: {name!r} is no plain file name; lists name files, without their folders")
    return name


def is_clip(path: Path) -> bool:
    """Whether a file name has a video suffix and no leading dot, which the extra files of macOS have."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def is_there(path: Path) -> bool:
    """Whether a file is on disk; one whose name no file can have, or whose folder cannot be looked into, is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def require_folder(path: Path, key: str) -> None:
    """Raise unless `path` is a folder; `key` is the key of its setting, for the message."""
    if not path.is_dir():
        raise ActionRecError(f"{key}={path} is not a folder; set {key} to the data's folder, or run actionrec prepare")


def present(records: Iterable[Record], label: str, folder: Path, strict: bool) -> list[Record]:
    """The records whose files are on disk.

    Args:
        records: the listed records.
        label: plural name of the records for messages, such as `clips`.
        folder: folder of the files, for messages.
        strict: whether a missing file is an error; otherwise it is left out with a warning.

    Raises:
        ActionRecError: `strict` is true and a file is missing.
    """
    records = list(records)
    found = [record for record in records if is_there(record.path)]
    missing = len(records) - len(found)
    if missing:
        first = next(record.path.name for record in records if not is_there(record.path))
        if strict:
            raise ActionRecError(
                f"{missing} of the {len(records)} {label} that the lists name are not under {folder} (first: {first}); "
                "complete the folder, or set data.strict=false to leave out missing files"
            )
        log.warning("%d of the %d %s that the lists name are not on disk and left out", missing, len(records), label)
    return found


def require_clips(clips: list[Clip], actions: Sequence[str], videos: Path, key: str) -> list[Clip]:
    """Return the clips, or raise if there is none, or if two share a name; `key` is that of `videos`, for messages."""
    if not clips:
        raise ActionRecError(f"no clips of {', '.join(actions)} under {videos}; check {key} and data.actions")
    require_names(clips)
    return clips


def require_names(clips: Iterable[Clip]) -> None:
    """Raise if two clips of an action have one name, such as `x.avi` and `x.mp4`: frames and flow are stored by it."""
    paths: dict[tuple[str, str], Path] = {}
    for clip in clips:
        if (other := paths.setdefault((clip.action, clip.name), clip.path)) != clip.path:
            raise ActionRecError(
                f"{other} and {clip.path} share the name {clip.name}, under which frames and flow are stored; rename "
                "one of them, or move it away"
            )


def require_filled(splits: Splits, actions: Sequence[str], label: str) -> Splits:
    """Return `splits`, or raise if a part is empty or an action has no training record; `label` is for the message."""
    for name, part in zip(splits._fields, splits, strict=True):
        if not part:
            raise ActionRecError(
                f"no {label} in the {name} split for {', '.join(actions)}; check data.actions and paths"
            )
    if absent := [action for action in actions if action not in {record.action for record in splits.train}]:
        raise ActionRecError(
            f"no {label} to train {', '.join(absent)} on; add {label} or leave these actions out of data.actions"
        )
    return splits


def splits_in(lists: Path, pattern: str) -> list[int]:
    """Numbers of the splits in a folder of lists: the first group of the pattern, in the files' names."""
    found = [re.search(pattern, path.name) for path in lists.glob("*.txt")]
    return sorted({int(match[1]) for match in found if match})


def shared_sources(first: Iterable[Clip], second: Iterable[Clip]) -> set[str]:
    """Source videos with clips on both sides."""
    return {clip.group for clip in first} & {clip.group for clip in second}


def official_numbers(numbers: Mapping[int, tuple[int, int]]) -> dict[str, int]:
    """The `official` numbers of a release by list and part, from the numbers of training and test clips by split."""
    return {
        f"split {split}, {part}": number
        for split, pair in numbers.items()
        for part, number in zip(("train", "test"), pair, strict=True)
    }
