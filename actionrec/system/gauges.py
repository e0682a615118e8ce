"""Progress bars on the last line of the terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actionrec.system import terminal

LONGEST, SHORTEST = 30, 8  # width of a bar in columns


def gauge(label: str, fraction: float, facts: str, width: int) -> str:
    """`label ━━━━━━──── 60 %  facts` in at most `width` columns; in a narrow terminal the bar is left out first."""
    percent = f"{int(100 * min(max(fraction, 0.0), 1.0)):3d} %"
    room = min(width - len(label) - len(percent) - len(facts) - 4, LONGEST)
    if not terminal.is_terminal() or room < SHORTEST:
        return f"{label} {percent}  {facts}"[:width].rstrip()
    filled = round(room * min(max(fraction, 0.0), 1.0))
    full, empty = ("━", "─") if "utf" in (getattr(sys.stderr, "encoding", None) or "").lower() else ("#", "-")
    bar = terminal.paint(full * filled, terminal.CYAN) + terminal.paint(empty * (room - filled), terminal.DIM)
    return f"{label} {bar} {percent}  {facts}"


class Count:
    """A counter with a progress bar, the rate, and the time left.

    Args:
        label: name of the work, such as `flow`.
        unit: plural of the counted things, such as `fields`.
        total: number of things.

    Attributes:
        done: number of finished things; the caller sets it.
        note: text at the end of the line.
    """

    def __init__(self, label: str, unit: str, total: int):
        self.label, self.unit, self.total = label, unit, total
        self.done = 0
        self.note = ""
        self._began = time.monotonic()

    def text(self, width: int) -> str:
        """The current line, at most `width` columns wide."""
        seconds = time.monotonic() - self._began
        facts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if self.done and seconds > 0:
            rate = self.done / seconds
            facts += [f"{rate:.3g}/s" if rate < 1000 else f"{rate:,.0f}/s"]
            facts += [f"{terminal.duration(max(self.total - self.done, 0) / rate)} left"]
        facts += [self.note] if self.note else []
        return gauge(self.label, self.done / max(self.total, 1), "  ".join(facts), width)


@contextmanager
def counting(label: str, unit: str, total: int) -> Iterator[Count]:
    """Show a `Count` on the last line while the block runs; nothing is shown for a total of 0."""
    count = Count(label, unit, total)
    if not total:
        yield count
        return
    with terminal.showing(count.text):
        yield count
