"""What a terminal shows of a stream of text with the escape codes that this project writes."""

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
    """A stream that claims to be a terminal, and keeps all that is written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Shown(NamedTuple):
    """The lines of a screen at the end, and every state that the lowest one had."""

    lines: list[str]
    states: list[str]


class Session(NamedTuple):
    """What a command wrote to a terminal, with the second at which each piece came; and its status."""

    pieces: list[tuple[float, str]]
    status: int

    @property
    def text(self) -> str:
        return "".join(piece for _, piece in self.pieces)


def shown(text: str) -> Shown:
    """Follow carriage returns, line ends and erasures; styles change nothing, and other codes stay in sight."""
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
            except OSError:  # Linux's way to say that nobody has the other end any more
                break
            if not rest:
                break
            try:
                piece, rest = rest.decode(), b""
            except UnicodeDecodeError:  # cut within a character
                continue
            pieces.append((time.monotonic() - begun, piece))
    os.close(ours)
    return Session(pieces, process.returncode)
