"""The terminal: colours, log lines, and a status line below the log lines.

If stderr is no terminal (a file, a pipe, `TERM=dumb`), there is no status line and no escape code; the log gets the
text of the status line after half a minute without a log line. `NO_COLOR` and `COLUMNS` are respected.
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

REDRAWN = 0.25  # seconds between two drawings of the status line
SILENCE = 30.0  # seconds without a log line after which a log outside of a terminal gets the status
BOLD, DIM, RED, YELLOW, CYAN = "1", "2", "1;31", "33", "36"  # parameters of the escape code for graphics (ECMA-48 SGR)
_ERASE = "\r\x1b[K"

Text = Callable[[int], str]  # number of columns → status text of at most that width


def is_terminal(stream: Any = None) -> bool:
    """Whether a stream (default: stderr) is a terminal that can redraw a line."""
    stream = stream or sys.stderr
    try:
        return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # the stream is None or closed
        return False


def paint(text: str, style: str, stream: Any = None) -> str:
    """A text with the escape codes of a style such as `RED`, if the stream (default: stderr) shows colours.

    The environment variable `NO_COLOR` turns colours off, see https://no-color.org.
    """
    return f"\x1b[{style}m{text}\x1b[0m" if text and is_terminal(stream) and not os.environ.get("NO_COLOR") else text


def columns() -> int:
    """Width of the terminal at stderr without its last column, after which some terminals wrap the line."""
    if "COLUMNS" not in os.environ:
        try:  # shutil.get_terminal_size asks stdout, which may be a pipe
            if width := os.get_terminal_size(sys.stderr.fileno()).columns:  # 0 in a terminal that does not know
                return max(width - 1, 1)
        except (OSError, ValueError):
            pass
    return max(shutil.get_terminal_size().columns - 1, 1)


class Formatter(logging.Formatter):
    """Log lines; on a terminal, warnings are yellow, errors red, times dim and accuracies bold."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        stamp = f"[{getattr(record, 'asctime', '')}]"
        stamp, message = (stamp, line[len(stamp) :]) if line.startswith(stamp) else ("", line)
        if record.levelno >= logging.WARNING:
            message = paint(message, RED if record.levelno >= logging.ERROR else YELLOW)
        else:
            message = re.sub(r"\b(?:val|test)/acc \d\.\d+", lambda match: paint(match[0], BOLD), message)
        return paint(stamp, DIM) + message


class Console(logging.StreamHandler):
    """Writes to the current `sys.stderr`, so that log lines go above the status line."""

    @property
    def stream(self) -> Any:
        """The current `sys.stderr`, looked up at each use, as `logging.lastResort` does."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        pass

    def format(self, record: logging.LogRecord) -> str:
        # Joblib's worker processes write to the terminal on which their parent process draws its status line.
        erase = _ERASE if is_terminal() and not isinstance(sys.stderr, _Above) else ""
        return erase + super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        _line.logged = time.monotonic()


class _Above:
    """A stream whose text is written above the status line."""

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
    """The status line: draws the text that was pushed last from a thread, so that it is updated during long calls.

    Texts must not read GPU memory: a copy to the CPU synchronises the device, and a copy from this thread would break
    a CUDA graph that the main thread is capturing.
    """

    def __init__(self) -> None:
        self.logged = 0.0  # time of the last log line
        self._texts: list[Text] = []
        self._live = self._drawing = self._drawn = self._open = self._forked = False
        self._shown = self._rest = ""
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def push(self, text: Text) -> None:
        self._texts.append(text)
        self.refresh()

    def pop(self, text: Text) -> None:
        if text in self._texts:  # a forked process has no texts, see `forget`
            self._texts.remove(text)
        self.refresh()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw the line while the block runs."""
        if self._live:
            yield
            return
        self._live, self._drawing, self.logged = True, is_terminal(), time.monotonic()
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
        """Draw the current text; without a terminal, log it if nothing was logged for `SILENCE` seconds."""
        texts = self._texts[-1:]
        if not self._live or not texts:
            return
        if self._drawing:
            with self._lock:
                shown = texts[0](columns())
                if shown != self._shown or not self._drawn:
                    self._shown = shown
                    self._draw()
        elif time.monotonic() - self.logged > SILENCE:
            self.logged = time.monotonic()
            log.info("%s", texts[0](200).rstrip())  # without self._lock: handlers lock first, so it could deadlock

    def write(self, stream: TextIO, text: str) -> int:
        """Write to a stream above the status line; returns the number of characters."""
        with self._lock:
            if self._forked:  # the parent draws at the same time, so whole lines are written with one call
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
        """Flush a stream; in a forked process, an unfinished line is written first."""
        with self._lock:
            if self._forked and self._rest:
                stream.write(f"{_ERASE}{self._rest}")
                self._rest = ""
            stream.flush()

    def forget(self) -> None:
        """Reset the state in a forked process: the parent owns the status line, and threads are not forked."""
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
        except (OSError, ValueError):  # a closed terminal must not end a training
            pass


_line = _LastLine()
# Fork while no thread holds the lock. Otherwise a child that is forked during a drawing inherits a held lock and
# deadlocks, since the thread that would release the lock does not exist in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_line.lock, after_in_parent=_line.unlock, after_in_child=_line.forget)


@contextmanager
def showing(text: Text) -> Iterator[None]:
    """Show a text on the status line, updated four times a second, while the block runs; a no-op outside of `live`."""
    _line.push(text)
    try:
        yield
    finally:
        _line.pop(text)


@contextmanager
def live(activity: str) -> Iterator[None]:
    """Draw the status line while the block runs; it shows the activity and its seconds until `doing` changes them.

    Only the process of a command that the user has started calls this; worker processes and library code do not.
    """
    doing(activity)
    with _line.live(), showing(_doing):
        yield


def doing(activity: str) -> None:
    """Set the activity that the status line shows, such as `reading the data`, and restart its seconds."""
    global _now
    _now = activity, time.monotonic()
    _line.refresh()


_now = ("", 0.0)


def _doing(width: int) -> str:
    activity, since = _now
    seconds = time.monotonic() - since
    text = f"{activity} …" if seconds < 1 else f"{activity} … {duration(seconds)}"
    return paint(text[:width], DIM)


def duration(seconds: float) -> str:
    """Seconds as `9 s`, `2:05` or `1:02:05`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
