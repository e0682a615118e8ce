"""Records of the data sets and what every split of them must satisfy."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from actionrec.errors import ActionRecError

log = logging.getLogger(__name__)


class Still(NamedTuple):
    """One image and its canonical action."""

    path: Path
    action: str


class Clip(NamedTuple):
    """One video clip, its action, and the source video that it was cut from."""

    path: Path
    action: str
    group: str


Record = TypeVar("Record", Still, Clip)


class Splits(NamedTuple):
    """The three disjoint parts of a data set, each of stills or of clips; `val` is carved out of the official train."""

    train: list[Any]
    val: list[Any]
    test: list[Any]


def require_folder(path: Path, key: str) -> None:
    """Raise unless `path` is a folder; `key` is the setting that names it."""
    if not path.is_dir():
        raise ActionRecError(f"{key}={path} is not a folder; set {key} to where the data is, or run actionrec.prepare")


def present(records: Iterable[Record], what: str, folder: Path, strict: bool) -> list[Record]:
    """The records whose files are on disk.

    Raises:
        ActionRecError: `strict`, and the disk lacks a file that the lists name.
    """
    records = list(records)
    found = [record for record in records if record.path.is_file()]
    missing = len(records) - len(found)
    if missing:
        first = next(record.path.name for record in records if not record.path.is_file())
        if strict:
            raise ActionRecError(
                f"{missing} of the {len(records)} {what} that the lists name are not under {folder} (first: {first}); "
                "complete the folder, or set data.strict=false to use only what is on disk"
            )
        log.warning("%d of the %d %s that the lists name are not on disk and left out", missing, len(records), what)
    return found


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
