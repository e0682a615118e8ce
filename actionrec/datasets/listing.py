"""Lists of clips as CSV, `path,action,split,group`: a user's own, and the splits that are drawn for folders."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from actionrec.datasets.records import check_name, read_lines
from actionrec.system.errors import ActionRecError
from actionrec.system.files import write_text

COLUMNS = ("path", "action", "split", "group")
PARTS = ("train", "val", "test")


class Listed(NamedTuple):
    """A line of a list; `split` and `group` are empty where the list does not say them."""

    path: Path
    action: str
    split: str
    group: str


def read(path: Path, folder: Path) -> list[Listed]:
    """The clips of a list, whose paths are relative to `folder` or absolute.

    Raises:
        ActionRecError: the list is no such CSV, names a clip twice, or gives only some clips a split.
    """
    lines = read_lines(path)
    header = tuple(each.strip().lower() for each in _row(lines[0].text)) if lines else ()
    if not {"path", "action"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise ActionRecError(
            f"{path}: its first line must name the columns: path,action and, if you like, split and group; with commas"
        )
    listed: dict[Path, Listed] = {}
    for where, text in lines[1:]:
        cells = [each.strip() for each in _row(text)]
        row = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=False))
        if len(cells) != len(header) or not row["path"] or not row["action"]:
            raise ActionRecError(f"{where}: cannot read the line {text[:80]!r}; each must be {','.join(header)}")
        if row["split"] not in ("", *PARTS):
            raise ActionRecError(
                f"{where}: split {row['split'][:40]!r}: use train, val, test, or nothing in every line"
            )
        place = Path(os.path.normpath(folder / row["path"]))
        if place in listed:
            raise ActionRecError(f"{where}: {row['path']} is named above already; name each clip once")
        listed[place] = Listed(place, check_name(row["action"], where), row["split"], row["group"])
    clips = list(listed.values())
    without = [clip.path.name for clip in clips if not clip.split]
    if not clips or 0 < len(without) < len(clips):
        what = f"{len(without)} clips have no split (first: {without[0]})" if clips else "it names no clip"
        raise ActionRecError(f"{path}: {what}; give every clip a split, or none")
    return clips


def write(path: Path, clips: Iterable[Listed], folder: Path) -> None:
    """Write a list, atomically, with paths relative to `folder` where they lie within."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in clips:
        place = clip.path.relative_to(folder) if clip.path.is_relative_to(folder) else clip.path
        writer.writerow([place.as_posix(), clip.action, clip.split, clip.group])
    write_text(path, file.getvalue())


def _row(text: str) -> list[str]:
    try:
        return next(csv.reader([text]), [])
    except csv.Error:
        return []
