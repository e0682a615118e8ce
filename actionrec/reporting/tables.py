"""Tables, written as Markdown, as CSV and for the HTML page.

This module does not import torch, because commands import it before the composition of settings.
"""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

NOTHING = "–"
FEW_SOURCES = 30  # with fewer source videos a table carries a warning


def few_sources(sources: int | None) -> str:
    """A warning if a test part has few source videos, otherwise an empty text."""
    if sources is None or sources >= FEW_SOURCES:
        return ""
    return (
        f"{sources} source videos are few (below {FEW_SOURCES}): intervals are wide, and only large differences show."
    )


class Estimate(NamedTuple):
    """A value with its interval; `signed` shows a plus sign before positive values."""

    value: float
    low: float
    high: float
    signed: bool = False

    @property
    def more(self) -> dict[str, float | None]:
        """Further columns of a CSV file."""
        return {"low": self.low, "high": self.high}


class Spread(NamedTuple):
    """A mean over runs, their standard deviation (None for one run), and the interval of one run."""

    value: float
    deviation: float | None
    low: float | None = None
    high: float | None = None

    @property
    def more(self) -> dict[str, float | None]:
        """Further columns of a CSV file."""
        interval = {} if self.low is None else {"low": self.low, "high": self.high}
        return {"sd": self.deviation, **interval}


class Short(NamedTuple):
    """A text that is shown shortened, such as a hash; the CSV file has the whole `value`."""

    value: str
    text: str


class Table(NamedTuple):
    """Rows under a header.

    Args:
        name: name of the table's files.
        title: heading.
        header: a text for each column.
        rows: values are texts, numbers, `Estimate`, `Spread`, `Short`, or None for an empty cell.
        note: explanation for the reader.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    note: str = ""


class Cell(NamedTuple):
    """A value on the page: its text, its key for sorting (None sorts last), and whether the key is a number."""

    text: str
    key: float | str | None
    number: bool


def cell(value: Any) -> Cell:
    """Format a value: three decimals, or three significant digits if rounding to decimals is off by over 5 %."""
    if isinstance(value, Estimate):
        sign = "+" if value.signed else ""
        if math.isnan(value.value) or math.isnan(value.low):
            return cell(value.value)
        middle, low, high = (f"{each:{sign}.3f}".replace("-", "−") for each in value[:3])
        return Cell(f"{middle} [{low}, {high}]", value.value, True)
    if isinstance(value, Spread):
        spread = "" if value.deviation is None else f" ± {value.deviation:.3f}"
        interval = "" if value.low is None else f" [{value.low:.3f}, {value.high:.3f}]"
        return Cell(f"{value.value:.3f}{spread}{interval}", value.value, True)
    if isinstance(value, Short):
        return Cell(value.text, value.value, False)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell(NOTHING, None, True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", str(value), False)
    if isinstance(value, int):
        return Cell(f"{value:,}", value, True)
    if isinstance(value, float):
        far_off = abs(round(value, 3) - value) > 0.05 * abs(value)
        text = f"{abs(value):.3g}" if far_off else f"{abs(value):.3f}"
        return Cell(f"−{text}" if value < 0 else text, value, True)
    return Cell(str(value), str(value), False)


def cells(table: Table) -> list[list[Cell]]:
    """Format every value of a table; a column with any text sorts as text."""
    rows = [[cell(value) for value in row] for row in table.rows]
    texts = {column for row in rows for column, each in enumerate(row) if not each.number}
    return [
        [
            each._replace(number=False, key=None if each.key is None else str(each.key)) if column in texts else each
            for column, each in enumerate(row)
        ]
        for row in rows
    ]


def texts(table: Table) -> list[list[str]]:
    """The header, and every value as formatted text."""
    return [list(table.header), *([each.text for each in row] for row in cells(table))]


def markdown(table: Table) -> str:
    """The table as Markdown, under its title and above its note."""
    escaped = [[text.replace("|", "\\|").replace("\n", " ") for text in line] for line in texts(table)]
    note = f"\n{table.note}\n" if table.note else ""
    return f"**{table.title}**\n\n{lines_of(escaped)}\n{note}"


def comma_separated(table: Table) -> str:
    """The table as CSV with unrounded numbers; intervals and standard deviations have columns of their own."""
    more: list[Sequence[str]] = [
        max((tuple(getattr(row[column], "more", ())) for row in table.rows), key=len, default=())
        for column in range(len(table.header))
    ]
    columns = list(zip(table.header, more, strict=True))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name for title, names in columns for name in (title, *(f"{title} {each}" for each in names))])
    for row in table.rows:
        writer.writerow([part for value, names in zip(row, more, strict=True) for part in _parts(value, names)])
    return file.getvalue()


def lines_of(lines: Sequence[Sequence[str]]) -> str:
    """Rows of text, the header first, as a Markdown table with aligned columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = tuple("-" * width for width in widths)
    padded = [
        [
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _parts(value: Any, names: Sequence[str]) -> list[Any]:
    more = getattr(value, "more", {})
    return [_plain(getattr(value, "value", value)), *(_plain(more.get(name)) for name in names)]


def _plain(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
