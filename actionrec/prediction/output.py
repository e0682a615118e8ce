"""Predictions as a table for people, as JSON and as CSV."""

import csv
import io
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from actionrec.prediction import windows
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.pipeline import Scored, Windowing
from actionrec.prediction.windows import Segment, Window
from actionrec.reporting.tables import lines_of

NONE = "none of these"
FORMATS = ("table", "json", "csv")
COLUMNS = ("file", "start", "end", "rank", "action", "probability")  # of CSV


class Segmentation(NamedTuple):
    """How windows become segments; see `windows.smooth` and `windows.segments`.

    Args:
        smooth: seconds over which probabilities are averaged.
        enter, leave: thresholds.
        least: shortest segment in seconds.
        none: label of the class background, which is none of the actions.
    """

    smooth: float
    enter: float
    leave: float
    least: float
    none: int | None = None


class Answer(NamedTuple):
    """The prediction of one file.

    Args:
        path: the file.
        top: actions with their probabilities, the most probable first; empty for a video with windows.
        rejected: whether the most probable action is background, or below the threshold of the calibration.
        duration: in seconds; None for an image.
        segments: of a video with windows; None for a clip or an image as a whole.
    """

    path: Path
    top: list[tuple[str, float]]
    rejected: bool
    duration: float | None
    segments: list[Segment] | None = None


class Course(NamedTuple):
    """The probabilities of the actions in the course of one file.

    Args:
        probabilities: (N, K) of the N windows, smoothed; N = 1 for a clip or an image as a whole.
        parts: the part of the video for which each row speaks, in the order of time.
        rejected: see `Answer`.
        segments: see `Answer`.
    """

    probabilities: np.ndarray
    parts: list[Window]
    rejected: bool
    segments: list[Segment] | None


def course(scored: Scored, calibration: Calibration, windowing: Windowing, segmentation: Segmentation) -> Course:
    """The course of a file's probabilities.

    Args:
        scored: the scores.
        calibration: of the probabilities, with the threshold below which an answer is rejected.
        windowing: how the video was cut.
        segmentation: how its windows become segments.
    """
    probabilities = calibration.probabilities(scored.logits)
    duration = scored.length.duration if scored.length else 0.0
    if not scored.windowed:
        rejected = bool(probabilities.max() < calibration.threshold or probabilities.argmax() == segmentation.none)
        return Course(probabilities, [Window(0.0, duration)], rejected, None)
    smoothed = windows.smooth(probabilities, odd(segmentation.smooth / windowing.hop))
    parts = windows.spans(len(smoothed), windowing.seconds, windowing.hop, duration)
    return Course(smoothed, parts, False, windows.segments(smoothed, parts, *segmentation[1:]))


def answer(scored: Scored, course: Course, actions: Sequence[str], top: int) -> Answer:
    """The answer to a file's scores.

    Args:
        scored: the scores.
        course: see `course`.
        actions: names of the labels.
        top: number of actions.
    """
    duration = scored.length.duration if scored.length else None
    if course.segments is not None:
        return Answer(scored.path, [], False, duration, course.segments)
    [row] = course.probabilities
    best = np.argsort(-row, kind="stable")[:top].tolist()
    return Answer(scored.path, [(actions[label], float(row[label])) for label in best], course.rejected, duration)


def odd(width: float) -> int:
    """The odd number of windows that is closest to a width, at least 1."""
    return 2 * round((max(width, 1.0) - 1) / 2) + 1


def text(answers: Sequence[Answer], actions: Sequence[str], form: str) -> str:
    """Answers in one of `FORMATS`, without a final line break."""
    if form == "json":
        return json.dumps([_mapping(each, actions) for each in answers], indent=2)
    return _csv(answers, actions) if form == "csv" else _tables(answers, actions)


def live_line(source: str, segment: Segment, actions: Sequence[str], form: str, began: float) -> str:
    """A segment of a camera or a network stream in one of `FORMATS`; in JSON, one line with the time of day.

    Args:
        source: the address.
        segment: in seconds since the first frame.
        actions: names of the labels.
        form: the format.
        began: time of the first frame in seconds since the epoch.
    """
    row = _row(segment, actions)
    if form == "json":
        clock = datetime.fromtimestamp(began + segment.start).astimezone().isoformat(timespec="seconds")
        return json.dumps({"source": source, "time": clock, **row})
    if form == "csv":
        file = io.StringIO()
        csv.DictWriter(file, COLUMNS, lineterminator="").writerow({"file": source, "rank": 1, **row})
        return file.getvalue()
    cells = f"{segment.start:.2f}", f"{segment.end:.2f}", row["action"], f"{segment.probability:.3f}"
    return _live_cells(cells, actions)


def live_head(actions: Sequence[str], form: str) -> str:
    """The lines above those of `live_line`; empty for JSON."""
    if form == "csv":
        return ",".join(COLUMNS)
    titles = "start", "end", "action", "probability"
    rule = ("-" * 9, "-" * 9, "-" * _longest(actions), "-" * 11)
    return "" if form == "json" else f"{_live_cells(titles, actions)}\n{_live_cells(rule, actions)}"


def _live_cells(cells: Sequence[str], actions: Sequence[str]) -> str:
    start, end, action, probability = cells
    return f"| {start:>9} | {end:>9} | {action:{_longest(actions)}} | {probability:>11} |"


def _longest(actions: Sequence[str]) -> int:
    return max(len(action) for action in ("action", *actions))


def _mapping(answer: Answer, actions: Sequence[str]) -> dict[str, Any]:
    own: dict[str, Any] = {"file": str(answer.path), "duration": answer.duration}
    if answer.segments is not None:
        return own | {"segments": [_row(segment, actions) for segment in answer.segments]}
    likeliest = [{"action": action, "probability": probability} for action, probability in answer.top]
    return own | {"action": None if answer.rejected else answer.top[0][0], "top": likeliest}


def _row(segment: Segment, actions: Sequence[str]) -> dict[str, Any]:
    times = {"start": round(segment.start, 3), "end": round(segment.end, 3)}
    return {**times, "action": actions[segment.label], "probability": segment.probability}


def _csv(answers: Sequence[Answer], actions: Sequence[str]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in answers:
        path = str(each.path)
        if each.segments is not None:
            writer.writerows({"file": path, "rank": 1, **_row(segment, actions)} for segment in each.segments)
            if not each.segments:
                writer.writerow({"file": path, "start": 0.0, "end": each.duration, "rank": 0, "action": NONE})
            continue
        if each.rejected:
            writer.writerow({"file": path, "rank": 0, "action": NONE})
        for rank, (action, probability) in enumerate(each.top, 1):
            writer.writerow({"file": path, "rank": rank, "action": action, "probability": probability})
    return file.getvalue().rstrip("\n")


def _tables(answers: Sequence[Answer], actions: Sequence[str]) -> str:
    names = _names([each.path for each in answers])
    wholes = [[names[each.path], *_line(each)] for each in answers if each.segments is None]
    parts = [
        [
            names[each.path],
            actions[segment.label],
            f"{segment.start:.2f}",
            f"{segment.end:.2f}",
            f"{segment.probability:.3f}",
        ]
        for each in answers
        for segment in each.segments or ()
    ]
    parts += [[names[each.path], NONE, "0.00", f"{each.duration:.2f}", ""] for each in answers if each.segments == []]
    tables = []
    if wholes:
        tables.append(lines_of([["file", "action", "probability", "next"], *wholes]))
    if parts:
        tables.append(lines_of([["file", "action", "start", "end", "probability"], *parts]))
    return "\n\n".join(tables)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Names of files in a table: of several files below their common folder, since a long column hides the others."""
    folder = os.path.commonpath([path.absolute().parent for path in paths]) if len(set(paths)) > 1 else None
    return {path: str(path.absolute().relative_to(folder)) if folder else str(path) for path in paths}


def _line(answer: Answer) -> list[str]:
    """A row of the table without its file: of a rejected answer, the most probable action is among the next ones."""
    (best, probability), *others = answer.top
    first = [NONE, ""] if answer.rejected else [best, f"{probability:.3f}"]
    shown = answer.top if answer.rejected else others
    return [*first, ", ".join(f"{action} {each:.3f}" for action, each in shown)]
