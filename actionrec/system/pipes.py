"""Output into a pipe whose reader has gone, as in `actionrec report | head -1`."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLOSED = 141  # a shell's exit status of a command that SIGPIPE ended


@contextmanager
def ends_with_reader() -> Iterator[None]:
    """Exit with status 141, and without a traceback, if the reader of stdout has closed the pipe.

    Any other broken pipe, such as that of a loader process, is raised. The default handler of SIGPIPE would not tell
    the two apart.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # at exit the interpreter would report the error itself
    except BrokenPipeError as error:
        if not _reader_is_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's flush at exit
        stop = error.__context__
        if isinstance(stop, SystemExit) and stop.code:  # an error of the command, with its message for stderr
            raise stop from None
        sys.exit(CLOSED)


def _reader_is_gone() -> bool:
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except OSError:  # no file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))
