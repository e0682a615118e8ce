"""Check of a data set's files for damage, short clips, and duplicates across parts (leakage) before a training."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from actionrec.datasets.base import ClipSet, DataSet, StillSet
from actionrec.datasets.install import few
from actionrec.datasets.records import Clip, Splits, Still
from actionrec.storage.video import count_frames, ends_early, probe, read_image
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256
from actionrec.system.parallel import run_jobs

FEW_FRAMES = 9  # frames needed for a stack of eight flow fields
UNUSED = "unused"  # part of files that the split does not use


class Facts(NamedTuple):
    """Properties of a file; an image counts as one frame with a rate of 0."""

    sha256: str
    frames: int  # number of frames that can be read
    announced: int  # number of frames in the container's header
    width: int
    height: int
    rate: float  # frames a second


class Report(NamedTuple):
    """Result of a check."""

    counts: dict[str, Counter[str]]  # number of records by part, by action
    facts: dict[Path, Facts]
    notes: list[str]  # findings that do not prevent a training
    wrong: list[str]  # errors that would break a training or bias its result


def check(data: DataSet, workers: int) -> Report:
    """Read every file of a data set on disk, also files that the split does not use.

    Args:
        data: the data set.
        workers: number of processes.

    Raises:
        ActionRecError: the data set has no files, or cannot be indexed.
    """
    records: Sequence[Clip | Still] = []
    if isinstance(data, ClipSet):
        records = data.clips("all")
    elif isinstance(data, StillSet):
        records = data.stills("all")
    actions = list(dict.fromkeys(record.action for record in records))
    _, splits = data.look(actions)
    sides = {record.path: part for part, side in splits._asdict().items() for record in side}
    counts: dict[str, Counter[str]] = {action: Counter() for action in actions}
    for record in records:
        counts[record.action][sides.get(record.path, UNUSED)] += 1
    jobs = {record.path: (record.path, data.kind) for record in records}
    results = dict(tqdm(run_jobs(inspect, jobs, workers), "check", len(jobs), unit="file", disable=None))
    facts = {path: results[path] for path in jobs if isinstance(results[path], Facts)}
    unreadable = [str(path) for path in jobs if path not in facts]
    notes, wrong = _of_bytes(facts, {record.path: record.action for record in records}, sides)
    if unreadable:
        wrong.insert(0, f"{len(unreadable)} cannot be read: {few(unreadable)}")
    if data.kind == "clips":
        notes = _of_frames(facts) + notes
    return Report(counts, facts, notes, wrong)


def inspect(path: Path, kind: str) -> Facts:
    """Decode one file completely; `kind` is clips or stills.

    Raises:
        ActionRecError: the file cannot be read or decoded.
    """
    try:
        digest = sha256(path)
    except OSError as error:
        raise ActionRecError(f"cannot read {path}: {error.strerror}") from None
    if kind == "stills":
        height, width = read_image(path).shape[:2]
        return Facts(digest, 1, 1, width, height, 0.0)
    frames, container = count_frames(path), probe(path)
    return Facts(digest, frames, container.frames, container.width, container.height, container.rate)


def _of_frames(facts: Mapping[Path, Facts]) -> list[str]:
    cut = [path.name for path, fact in facts.items() if ends_early(fact.frames, fact.announced)]
    short = [path.name for path, fact in facts.items() if fact.frames < FEW_FRAMES]
    findings = (
        (cut, "have far fewer frames than their files announce and may be truncated"),
        (short, f"have fewer than {FEW_FRAMES} frames, too few for a stack of eight flow fields"),
    )
    return [f"{len(names)} {finding}: {few(names)}" for names, finding in findings if names]


def _of_bytes(
    facts: Mapping[Path, Facts], actions: Mapping[Path, str], sides: Mapping[Path, str]
) -> tuple[list[str], list[str]]:
    """Notes and errors about files with the same bytes."""
    same: dict[str, list[Path]] = defaultdict(list)
    for path, fact in facts.items():
        same[fact.sha256].append(path)
    doubled = [paths for paths in same.values() if len(paths) > 1]

    def shown(paths: Iterable[Path]) -> str:
        return " = ".join(f"{actions[path]}/{path.name} ({sides.get(path, UNUSED)})" for path in paths)

    across, notes, wrong = [], [], []
    for paths in doubled:
        parts = {sides.get(path) for path in paths}
        if "test" in parts and parts & {"train", "val"}:
            across.append(shown(paths))
    if across:
        wrong.append(f"{len(across)} have the same bytes in the test and in train or val: {few(across)}")
    others = [shown(paths) for paths in doubled if shown(paths) not in across]
    if others:
        notes.append(f"{len(others)} have the same bytes as another file: {few(others)}")
    labels = [shown(paths) for paths in doubled if len({actions[path] for path in paths}) > 1]
    if labels:
        notes.append(f"{len(labels)} have the same bytes under two actions: {few(labels)}")
    return notes, wrong


def lines(report: Report, kind: str) -> list[str]:
    """Format a report as lines of text: a table of the classes, then one line per property, note and error.

    Args:
        report: see `check`.
        kind: kind of the records, `clips` or `stills`.
    """
    parts = [*Splits._fields, UNUSED]
    rows = [[action, *(str(counts[part]) for part in parts)] for action, counts in report.counts.items()]
    rows.append(["all", *(str(sum(counts[part] for counts in report.counts.values())) for part in parts)])
    table = [["action", *parts], *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    text = [
        "  ".join(
            each.ljust(width) if not n else each.rjust(width)
            for n, (each, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    facts = report.facts.values()
    sizes = Counter(f"{fact.width}×{fact.height}" for fact in facts).most_common()
    text.append("sizes: " + few([f"{size} ({number:,})" for size, number in sizes]))
    if kind == "clips":
        timed = [fact for fact in facts if math.isfinite(fact.rate) and fact.rate > 0]
        text += _spread("frames", [fact.frames for fact in facts])
        text += _spread("frames a second", [fact.rate for fact in timed])
        text += _spread("seconds", [fact.frames / fact.rate for fact in timed])
    return [*text, *(f"note: {each}" for each in report.notes), *(f"wrong: {each}" for each in report.wrong)]


def _spread(label: str, values: Sequence[float]) -> list[str]:
    if not values:
        return []
    low, middle, high = min(values), statistics.median(values), max(values)
    return [f"{label}: {low:.4g} to {high:.4g}, median {middle:.4g}"]
