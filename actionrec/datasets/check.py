"""What is wrong with the files of a data set, found before a training stumbles over it or is flattered by it."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from actionrec.datasets.base import ClipSet, DataSet, StillSet
from actionrec.datasets.gather import few
from actionrec.datasets.records import Clip, Splits, Still
from actionrec.storage.video import count_frames, ends_early, probe, read_image
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256
from actionrec.system.parallel import run_jobs

FEW_FRAMES = 9  # of which a stack of eight fields of flow is made, the longest of the usual ones
UNUSED = "unused"  # by the split


class Facts(NamedTuple):
    """What is found in a file; an image is one frame without a rate."""

    sha256: str
    frames: int  # that can be read
    announced: int  # by its container
    width: int
    height: int
    rate: float  # frames a second


class Report(NamedTuple):
    """What is there, what is worth a look, and what would break or bias a training."""

    counts: dict[str, Counter[str]]  # records by part, by action
    facts: dict[Path, Facts]
    notes: list[str]
    wrong: list[str]


def check(data: DataSet, workers: int) -> Report:
    """Read every file of a data set that is on disk, whatever the split says of it.

    Args:
        data: the data set.
        workers: processes.

    Raises:
        ActionRecError: it has no files, or cannot be indexed.
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
    """Look at one file of clips or of stills, decoding all of it.

    Raises:
        ActionRecError: it cannot be read.
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
    said = (
        (cut, "have far fewer frames than their files announce, cut short perhaps"),
        (short, f"have fewer than {FEW_FRAMES} frames, too few for a stack of eight fields of flow"),
    )
    return [f"{len(names)} {what}: {few(names)}" for names, what in said if names]


def _of_bytes(
    facts: Mapping[Path, Facts], actions: Mapping[Path, str], sides: Mapping[Path, str]
) -> tuple[list[str], list[str]]:
    """What to note of files of the same bytes, and what is wrong with them."""
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


def lines(report: Report, what: str) -> list[str]:
    """A report as text: a table of the classes, and a line for everything else.

    Args:
        report: see `check`.
        what: the records are, `clips` or `stills`.
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
    if what == "clips":
        timed = [fact for fact in facts if math.isfinite(fact.rate) and fact.rate > 0]
        text += _spread("frames", [fact.frames for fact in facts])
        text += _spread("frames a second", [fact.rate for fact in timed])
        text += _spread("seconds", [fact.frames / fact.rate for fact in timed])
    return [*text, *(f"note: {each}" for each in report.notes), *(f"wrong: {each}" for each in report.wrong)]


def _spread(what: str, values: Sequence[float]) -> list[str]:
    if not values:
        return []
    low, middle, high = min(values), statistics.median(values), max(values)
    return [f"{what}: {low:.4g} to {high:.4g}, median {middle:.4g}"]
