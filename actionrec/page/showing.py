"""The content of the page as plain types for JSON."""

from typing import Any

import numpy as np

from actionrec.page import pictures
from actionrec.page.looking import FUSION, Part, Result
from actionrec.prediction.drawing import colour_of
from actionrec.prediction.output import NONE
from actionrec.prediction.windows import Segment, Window


def summary(result: Result) -> dict[str, Any]:
    """The course of a file as plain types: `cells` of the strip, `segments`, and the number `first`, see `view`."""
    actions = result.loaded.actions
    cells = [
        {**_span(part.span), "action": _named(part.label, actions), "colour": _css(part.label), "height": part.best[1]}
        for part in result.parts
    ]
    segments = [
        {**_span(Window(each.start, each.end)), "action": actions[each.label], "colour": _css(each.label),
         "probability": each.probability, "part": _middle(each, result.parts)}
        for each in result.segments
    ]  # fmt: skip
    return {"whole": result.whole is not None, "cells": cells, "segments": segments, "first": result.first}


def view(result: Result, number: int) -> dict[str, Any]:
    """A part of a result as plain types, for the page; pictures are data URLs.

    Args:
        result: of the file.
        number: of the window; -1 for the file as a whole.

    Raises:
        IndexError: there is no such part.
    """
    if number < -1 or number >= len(result.parts) or (number < 0 and not result.whole):
        raise IndexError(number)
    part = result.parts[number] if number >= 0 else result.whole
    loaded, module = result.loaded, result.loaded.module
    assert part
    assert module
    best = part.best[0]
    with result.lock:
        drawn = pictures.of_streams(module, loaded.reader.modalities, part.seen.inputs, best)
    alone = len(drawn) == 1
    streams = [
        {"name": loaded.reader.modalities[name].label, **own, **({} if alone else {"top": _top(part, name, result)})}
        for name, own in drawn.items()
    ]
    return {
        "part": number,
        **_span(part.span),
        "action": _named(part.label, loaded.actions),
        "of": loaded.actions[best],
        "probability": part.best[1],
        "frame": pictures.data_url(part.seen.frame),
        "top": _top(part, FUSION, result),
        "streams": streams,
    }


def _middle(segment: Segment, parts: list[Part]) -> int:
    """The window in the middle of a segment."""
    middle = (segment.start + segment.end) / 2
    return next((number for number, part in enumerate(parts) if middle < part.span.end), len(parts) - 1)


def _top(part: Part, name: str, result: Result) -> list[tuple[str, float]]:
    row = part.answers[name]
    best = np.argsort(-row, kind="stable")[: result.top].tolist()
    return [(result.loaded.actions[label], float(row[label])) for label in best]


def _best(part: Part) -> tuple[int, float]:
    row = part.answers[FUSION]
    label = int(row.argmax())
    return label, float(row[label])


def _named(label: int | None, actions: tuple[str, ...]) -> str:
    return NONE if label is None else actions[label]


def _span(span: Window) -> dict[str, float]:
    return {"start": span.start, "end": span.end}


def _css(label: int | None) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour_of(label))
