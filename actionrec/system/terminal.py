"""The terminal: colours, log lines, and a last line below them that says what a command is doing.

Where stderr is no terminal (a file, a pipe, `TERM=dumb`) there is no last line and no escape code; after half a minute
without a line the log gets one that says the same. `NO_COLOR` and `COLUMNS` are heeded.
"""

import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

log = logging.getLogger(__name__)

REDRAWN = 0.25  # seconds between two drawings of the last line
SILENCE = 30.0  # seconds without a line after which a log that is no terminal gets one
BOLD, DIM, RED, YELLOW, CYAN = "1", "2", "1;31", "33", "36"  # parameters of the escape code for graphics (ECMA-48 SGR)
_ERASE = "\r\x1b[K"

Text = Callable[[int], str]  # what to show in that many columns


def is_terminal(stream: Any = None) -> bool:
    """Whether a stream (default: stderr) is a terminal that can redraw a line."""
    stream = stream or sys.stderr
    try:
        return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # none at all, or closed
        return False


def paint(text: str, style: str, stream: Any = None) -> str:
    """A text in a style such as `RED`, where the stream (default: stderr) shows colours; see https://no-color.org."""
    return f"\x1b[{style}m{text}\x1b[0m" if text and is_terminal(stream) and not os.environ.get("NO_COLOR") else text


def columns() -> int:
    """Width of the terminal at stderr, less the last column, in which some terminals begin a new line."""
    if "COLUMNS" not in os.environ:
        try:  # stdout, which shutil asks, may be a pipe
            return max(os.get_terminal_size(sys.stderr.fileno()).columns - 1, 1)
        except (OSError, ValueError):
            pass
    return max(shutil.get_terminal_size().columns - 1, 1)


class Formatter(logging.Formatter):
    """Log lines, on a terminal with warnings in yellow, errors in red, a dim time and bold accuracies."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        stamp = f"[{getattr(record, 'asctime', '')}]"
        stamp, said = (stamp, line[len(stamp) :]) if line.startswith(stamp) else ("", line)
        if record.levelno >= logging.WARNING:
            said = paint(said, RED if record.levelno >= logging.ERROR else YELLOW)
        else:
            said = re.sub(r"\b(?:val|test)/acc \d\.\d+", lambda found: paint(found[0], BOLD), said)
        return paint(stamp, DIM) + said


class Console(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the time, so above the last line."""

    @property
    def stream(self) -> Any:
        """The stream of today, as `logging.lastResort` has it."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        pass

    def format(self, record: logging.LogRecord) -> str:
        # Joblib's workers write where the process that began them draws its last line.
        erase = _ERASE if is_terminal() and not isinstance(sys.stderr, _Above) else ""
        return erase + super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        _line.spoke = time.monotonic()


class _Above:
    """A stream whose text goes above the last line."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        return _line.write(self.stream, text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        _line.flush(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _LastLine:
    """Draws the text that was pushed last, from a thread, so that a line ticks whatever the command is busy with.

    The texts read Python values alone, never a GPU's memory: a copy waits for the device, and one from this thread
    would break a CUDA graph that the main thread is capturing.
    """

    def __init__(self) -> None:
        self.spoke = 0.0  # when the last line of the log was written
        self._texts: list[Text] = []
        self._live = self._drawing = self._drawn = self._open = self._forked = False
        self._shown = self._rest = ""
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def push(self, text: Text) -> None:
        self._texts.append(text)
        self.refresh()

    def pop(self, text: Text) -> None:
        if text in self._texts:  # not in a fork
            self._texts.remove(text)
        self.refresh()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw within the context."""
        if self._live:
            yield
            return
        self._live, self._drawing, self.spoke = True, is_terminal(), time.monotonic()
        self._ended.clear()
        streams = sys.stdout, sys.stderr
        if self._drawing:
            sys.stdout, sys.stderr = (_Above(each) if is_terminal(each) else each for each in streams)
        thread = threading.Thread(target=self._tick, name="last line", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(timeout=1)
            with self._lock:
                self._erase()
                if self._drawing:
                    sys.stdout, sys.stderr = streams
                self._live = self._drawing = False

    def refresh(self) -> None:
        """Draw the text of now; where there is no terminal, log it after a silence."""
        texts = self._texts[-1:]
        if not self._live or not texts:
            return
        if self._drawing:
            with self._lock:
                shown = texts[0](columns())
                if shown != self._shown or not self._drawn:
                    self._shown = shown
                    self._draw()
        elif time.monotonic() - self.spoke > SILENCE:
            self.spoke = time.monotonic()
            log.info("%s", texts[0](200).rstrip())  # without the lock, since handlers have one that they take first

    def write(self, stream: TextIO, text: str) -> int:
        """Write to a stream above the line."""
        with self._lock:
            if self._forked:  # whole lines, each in one piece: the parent draws meanwhile
                lines, end, self._rest = (self._rest + text).rpartition("\n")
                if end:
                    stream.write(f"{_ERASE}{lines}{end}")
                    stream.flush()
                return len(text)
            self._erase()
            count = stream.write(text)
            stream.flush()
            if text:
                self._open = not text.endswith("\n")
            self._draw()
        return count

    def flush(self, stream: TextIO) -> None:
        """Write a fork's last line that has no end."""
        with self._lock:
            if self._forked and self._rest:
                stream.write(f"{_ERASE}{self._rest}")
                self._rest = ""
            stream.flush()

    def forget(self) -> None:
        """In a fork: the line, and the thread, are the parent's."""
        self._lock = threading.RLock()
        self._forked |= self._drawing
        self._texts, self._live, self._drawing, self._drawn, self._rest = [], False, False, False, ""

    def lock(self) -> None:
        self._lock.acquire()

    def unlock(self) -> None:
        self._lock.release()

    def _tick(self) -> None:
        while not self._ended.wait(REDRAWN):
            self.refresh()

    def _draw(self) -> None:
        if self._drawing and self._shown and not self._open:
            self._raw(f"\r{self._shown}\x1b[K")
            self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._raw(_ERASE)
            self._drawn = False

    @staticmethod
    def _raw(text: str) -> None:
        stream = sys.stderr.stream if isinstance(sys.stderr, _Above) else sys.stderr
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):  # the terminal is gone, which is no reason to end a training
            pass


_line = _LastLine()
# Else a process that is forked while the thread draws would wait for ever for a lock that no thread of its own has.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_line.lock, after_in_parent=_line.unlock, after_in_child=_line.forget)


@contextmanager
def showing(text: Text) -> Iterator[None]:
    """Have the last line show a text, anew four times a second; a no-op outside of `live`."""
    _line.push(text)
    try:
        yield
    finally:
        _line.pop(text)


@contextmanager
def live(what: str) -> Iterator[None]:
    """Own the terminal, and show what this process is doing, with seconds; `doing` changes what.

    For the one process of a command that was started by its user; in others, and in a library, nothing is drawn.
    """
    doing(what)
    with _line.live(), showing(_doing):
        yield


def doing(what: str) -> None:
    """Say what this process does from now on, such as `reading the data`."""
    global _now
    _now = what, time.monotonic()
    _line.refresh()


_now = ("", 0.0)


def _doing(width: int) -> str:
    what, since = _now
    seconds = time.monotonic() - since
    said = f"{what} …" if seconds < 1 else f"{what} … {duration(seconds)}"
    return paint(said[:width], DIM)


def duration(seconds: float) -> str:
    """Seconds as `9 s`, `2:05` or `1:02:05`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
