"""Bars on the terminal's last line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actionrec.system import terminal

LONGEST, SHORTEST = 30, 8  # columns of a bar


def gauge(label: str, fraction: float, facts: str, width: int) -> str:
    """`label ━━━━━━──── 60 %  facts` in at most `width` columns; the bar gives way first."""
    percent = f"{int(100 * min(max(fraction, 0.0), 1.0)):3d} %"
    room = min(width - len(label) - len(percent) - len(facts) - 4, LONGEST)
    if not terminal.is_terminal() or room < SHORTEST:
        return f"{label} {percent}  {facts}"[:width].rstrip()
    filled = round(room * min(max(fraction, 0.0), 1.0))
    full, empty = ("━", "─") if "utf" in (getattr(sys.stderr, "encoding", None) or "").lower() else ("#", "-")
    bar = terminal.paint(full * filled, terminal.CYAN) + terminal.paint(empty * (room - filled), terminal.DIM)
    return f"{label} {bar} {percent}  {facts}"


class Count:
    """How many of a number of things are done, at what rate, and for how long still.

    Args:
        what: is done, such as `flow`.
        unit: of the rate, in the plural.
        total: of things.
    """

    def __init__(self, what: str, unit: str, total: int):
        self.what, self.unit, self.total = what, unit, total
        self.done = 0
        self.note = ""
        self._began = time.monotonic()

    def text(self, width: int) -> str:
        """The line of now."""
        seconds = time.monotonic() - self._began
        facts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if self.done and seconds > 0:
            rate = self.done / seconds
            facts += [f"{rate:.3g}/s" if rate < 1000 else f"{rate:,.0f}/s"]
            facts += [f"{terminal.duration(max(self.total - self.done, 0) / rate)} left"]
        facts += [self.note] if self.note else []
        return gauge(self.what, self.done / max(self.total, 1), "  ".join(facts), width)


@contextmanager
def counting(what: str, unit: str, total: int) -> Iterator[Count]:
    """A `Count` that the last line shows, and that the caller advances by its `done`."""
    count = Count(what, unit, total)
    if not total:
        yield count
        return
    with terminal.showing(count.text):
        yield count
