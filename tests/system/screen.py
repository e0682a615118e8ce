"""A simulated terminal for text with the escape codes that this project writes."""

import io
import os
import pty
import re
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

_PIECES = re.compile(r"\r\n|\n|\r|\x1b\[K|\x1b\[[\d;]*m|[^\r\n\x1b]+|\x1b")


class Screen(io.StringIO):
    """A stream that claims to be a terminal and records all text."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Shown(NamedTuple):
    """The final lines of a screen, and every state of its lowest line."""

    lines: list[str]
    states: list[str]


class Session(NamedTuple):
    """Output of a command on a terminal, with the time of each piece in seconds, and the exit status."""

    pieces: list[tuple[float, str]]
    status: int

    @property
    def text(self) -> str:
        return "".join(piece for _, piece in self.pieces)


def shown(text: str) -> Shown:
    """Interpret carriage returns, line ends and erasures; styles are dropped, other codes stay visible."""
    lines, line, column, states = [], "", 0, []
    for piece in _PIECES.findall(text):
        if piece in ("\r\n", "\n"):
            lines, line, column = [*lines, line], "", 0
        elif piece == "\r":
            column = 0
        elif piece == "\x1b[K":
            line = line[:column]
        elif not re.fullmatch(r"\x1b\[[\d;]*m", piece):
            line = line[:column] + piece + line[column + len(piece) :]
            column += len(piece)
        states.append(line)
    return Shown([*lines, line], states)


def on_terminal(command: Sequence[str], environment: dict[str, str]) -> Session:
    """Run a command whose stdout and stderr are a terminal of `COLUMNS` columns."""
    ours, theirs = pty.openpty()
    pieces, begun = [], time.monotonic()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=os.environ | environment) as process:
        os.close(theirs)
        rest = b""
        while True:
            try:
                rest += os.read(ours, 65536)
            except OSError:  # Linux raises EIO when the other end is closed
                break
            if not rest:
                break
            try:
                piece, rest = rest.decode(), b""
            except UnicodeDecodeError:  # the piece ends within a character
                continue
            pieces.append((time.monotonic() - begun, piece))
    os.close(ours)
    return Session(pieces, process.returncode)
