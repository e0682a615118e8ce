"""Errors as one line that names the mistake and the mend."""

import errno
import os
import re

from hydra.errors import OverrideParseException

from actionrec.settings import overrides
from actionrec.settings.composition import COMPOSITION_ERRORS
from actionrec.system.errors import ActionRecError


def one_line(error: BaseException) -> str:
    """The message of an error on one line, without the text that Hydra and loader processes wrap around it."""
    text = str(_bad_input(error) or error)
    if isinstance(error, OverrideParseException):
        text = overrides.unreadable(error.override) or text
    if text.startswith("Caught "):  # torch's wording of an error that a worker raised
        text = text.strip().splitlines()[-1].partition(": ")[2]
    if found := re.match(r"Could not override '(callbacks\.(?:best|early_stopping)\.\w+)'", text):
        text = f"{found[1]}: callbacks=last_epoch, as of recipe=best, leaves that callback out; add callbacks=default"
    return " ".join(text.partition("Config search path:")[0].split())


def _bad_input(error: BaseException | None) -> ActionRecError | None:
    """The `ActionRecError` that an error was raised from; Hydra's `instantiate` raises its own from a target's.

    An error for want of disk space, permissions or memory is made one, too.
    """
    while error:
        if isinstance(error, ActionRecError):
            return error
        if lack := _lack(error):
            return ActionRecError(lack)
        error = error.__cause__
    return None


def is_users(error: BaseException) -> bool:
    """Whether an error is about the user's input or machine, rather than a defect of this project."""
    return _bad_input(error) is not None or isinstance(error, COMPOSITION_ERRORS)


def _lack(error: BaseException) -> str | None:
    """For an error caused by a lack of disk space, permissions or memory, a message with a way to fix it; else None."""
    text = str(error).strip()
    if text.startswith("Caught "):  # torch's wording of an error that a worker raised
        text = text.splitlines()[-1].partition(": ")[2]
    said = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, OSError):
        number, file = error.errno, error.filename
        if number is None and (found := re.search(r"\[Errno (\d+)\] .*?(?:: '(.*)')?$", text)):  # a worker's
            number, file = int(found[1]), found[2]
        reason = os.strerror(number) if number else said
        where = f"{os.fsdecode(file)}: " if file else ""
        return f"{where}{reason}; {_MENDS[number]}" if number in _MENDS else None
    if type(error).__name__ == "OperationalError" and "sqlite3" in text:  # of Optuna's storage
        return next((f"study.db: {said}; {mend}" for said, mend in _DATABASE.items() if said in text), None)
    if "does not allow for gradient clipping" in text:  # Lightning, of mixed precision
        return f"trainer.gradient_clip_val: {said.rstrip('.')}; set optimizer.fused=auto"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _OUT_OF_MEMORY.search(text):
        return f"out of memory ({said:.100}); lower data.batch_size, data.size or data.num_workers"
    if found := re.search(r"DataLoader worker .*(killed by signal: \w+|exited unexpectedly)", text):
        fate = found[1].replace("killed", "was killed")
        return f"a loader process {fate}, most often for want of memory; lower data.num_workers or data.batch_size"
    return None


_ROOM = "make room, or write elsewhere (paths.outputs, paths.flow, paths.frames), and run the same command again"
_RIGHTS = "check its permissions, or choose another place (paths=…)"
_MENDS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: f"raise the limit on the size of files, or {_ROOM}",
    errno.EROFS: "write elsewhere (paths.outputs, paths.flow, paths.frames)",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EBUSY: "it is a mount point, or in use; choose another place",
    errno.EIO: "check the disk, and run the same command again",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or lower data.num_workers",
    errno.ENAMETOOLONG: "shorten it",
    errno.ENOTDIR: "a file lies where a folder is wanted; move it away, or choose another place",
    errno.EISDIR: "a folder lies where a file is wanted; move it away, or choose another place",
    errno.EEXIST: "something else lies there; move it away, or choose another place",
}
_DATABASE = {
    "database or disk is full": _ROOM,
    "readonly database": _RIGHTS,
    "unable to open database file": _RIGHTS,
    "disk I/O error": _ROOM,
}
_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|CUDA out of memory|Insufficient memory|Unable to allocate"
)
