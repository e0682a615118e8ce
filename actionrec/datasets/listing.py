"""Lists of clips as CSV, `path,action,split,group`: lists of users, and drawn splits of folders."""

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
    """A line of a list; `split` and `group` are empty if the list does not have them."""

    path: Path
    action: str
    split: str
    group: str


def read(path: Path, folder: Path) -> list[Listed]:
    """The clips of a list; its paths are absolute, or relative to `folder`.

    Raises:
        ActionRecError: the columns or a line are wrong, a clip is repeated, or only some clips have a split.
    """
    lines = read_lines(path)
    header = tuple(each.strip().lower() for each in _row(lines[0].text)) if lines else ()
    if not {"path", "action"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise ActionRecError(
            f"{path}: wrong first line; name the columns path,action and optionally split,group, separated by commas"
        )
    listed: dict[Path, Listed] = {}
    for where, text in lines[1:]:
        cells = [each.strip() for each in _row(text)]
        row = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=False))
        if len(cells) != len(header) or not row["path"] or not row["action"]:
            raise ActionRecError(f"{where}: cannot read the line {text[:80]!r}; each must be {','.join(header)}")
        if row["split"] not in ("", *PARTS):
            raise ActionRecError(
                f"{where}: split {row['split'][:40]!r}: use train, val or test, or leave the split of all lines empty"
            )
        place = Path(os.path.normpath(folder / row["path"]))
        if place in listed:
            raise ActionRecError(f"{where}: {row['path']} is in the list twice; name each clip once")
        listed[place] = Listed(place, check_name(row["action"], where), row["split"], row["group"])
    clips = list(listed.values())
    without = [clip.path.name for clip in clips if not clip.split]
    if not clips or 0 < len(without) < len(clips):
        wrong = f"{len(without)} clips have no split (first: {without[0]})" if clips else "it names no clip"
        raise ActionRecError(f"{path}: {wrong}; give a split to all clips or to none")
    return clips


def write(path: Path, clips: Iterable[Listed], folder: Path) -> None:
    """Write a list atomically; paths inside `folder` are relative to it, other paths are absolute."""
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
