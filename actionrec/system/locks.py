"""Locks on paths: one writer at a time, also among machines that share the disk.

The lock is a hidden file beside the path. If the file system has POSIX record locks, the record lock on that file
decides: the kernel, or the server of a shared disk, releases a record lock when its process dies, even if forked
children live on. If the file system has no record locks (some cluster file systems, Windows), or if a record lock may
be valid on one machine only, the owner's heartbeat decides: a living owner updates the modification time of the lock
file every few seconds.
"""

import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from actionrec.system.errors import ActionRecError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HEARTBEAT_SECONDS = 5.0
MISSED_BEATS = 4  # heartbeats after which an owner without a record lock counts as dead

_BUSY = {errno.EACCES, errno.EAGAIN}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_RETRY_SECONDS = 0.2
_held: dict[Path, "_Hold"] = {}
_held_guard = threading.RLock()
log = logging.getLogger(__name__)


class BusyError(ActionRecError):
    """Another process holds the lock."""


@dataclass
class _Hold:
    handle: int
    process: int
    depth: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    heart: threading.Thread | None = None


@contextmanager
def only_writer(path: Path, label: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a path while the block runs; see `acquire`."""
    acquire(path, label, wait)
    try:
        yield
    finally:
        release(path)


def acquire(path: Path, label: str, wait: bool = False) -> None:
    """Take the lock of a path until `release`, or until this process ends or is killed.

    The lock is re-entrant: the owner may acquire it again and must release it as often. Forked children do not own it.

    Args:
        path: a file or a folder, which need not exist.
        label: name of the path's kind in messages, such as `run`.
        wait: wait until another owner releases the lock, instead of raising.

    Raises:
        BusyError: another process holds the lock; the message names that process.
        OSError: the folder of `path` is not writable.
    """
    file = lock_file(path)
    with _held_guard:
        hold = _held.get(file)
        if hold and hold.process == os.getpid():
            hold.depth += 1
            return
    file.parent.mkdir(parents=True, exist_ok=True)
    logged = False
    while True:
        try:
            handle = _open(file, path, label)
            break
        except OSError as error:
            error.filename = str(path)  # the user knows `path`, and not the lock file
            if error.errno == errno.ENOENT:  # a folder in which no file can be created, such as /proc
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
            raise
        except BusyError as error:
            if not wait:
                raise
            if not logged:
                log.info("waiting: %s", error)
            logged = True
            time.sleep(_RETRY_SECONDS)
    hold = _Hold(handle, os.getpid())
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, _record())
    except BaseException:
        _let_go(hold, file)
        raise
    # A daemon thread does not keep the process alive. The thread takes no lock, since a fork could inherit a held one.
    hold.heart = threading.Thread(target=_beat, args=(hold, file), daemon=True)
    hold.heart.start()
    with _held_guard:
        _held[file] = hold


def release(path: Path) -> None:
    """Release the lock of a path; a no-op if this process does not hold the lock."""
    file = lock_file(path)
    with _held_guard:
        hold = _held.get(file)
        if not hold or hold.process != os.getpid():
            return
        hold.depth -= 1
        if hold.depth:
            return
        del _held[file]
    hold.stop.set()
    if hold.heart:
        hold.heart.join()
    _let_go(hold, file)


def lock_file(path: Path) -> Path:
    """The lock file of a path; symbolic links are resolved first."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{path.name}.lock")


def _let_go(hold: _Hold, file: Path) -> None:
    with suppress(OSError):  # a user has removed the file
        if os.name != "nt" and _is_at(hold.handle, file):
            file.unlink()  # before closing, so that a process that has the file open notices its removal, see `_open`
    os.close(hold.handle)
    if os.name == "nt":  # Windows cannot remove open files
        with suppress(OSError):
            file.unlink()


def _open(file: Path, path: Path, label: str) -> int:
    """Open the lock file and become its owner; returns the file descriptor.

    Raises:
        BusyError: another process is the owner.
    """
    dead: bytes | None = None  # content of the lock file of an owner that has missed its heartbeats
    while True:
        created = True
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileExistsError:
            created = False
            try:
                handle = os.open(file, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            except FileNotFoundError:  # the owner has just released the lock
                continue
        granted: bool | None = None
        content = b""
        try:
            granted = _try_record_lock(handle)
            content = os.read(handle, 4096)
            if granted is False:
                raise BusyError(_busy_message(path, label, content))
            if granted and not _is_at(handle, file):  # the owner has removed the file since it was opened here
                os.close(handle)
                continue
        except BaseException:
            os.close(handle)
            raise
        # A record lock may be local to this machine, so it proves nothing about an owner on another machine.
        elsewhere = content and _parse(content).get("host") != socket.gethostname()
        if created or (granted and (not elsewhere or content == dead)):
            return handle
        os.close(handle)
        if content == dead:
            _remove(file, content, path, label)
            continue
        if _beats(file):
            raise BusyError(_busy_message(path, label, content))
        dead = content


def _try_record_lock(handle: int) -> bool | None:
    """Whether the record lock was granted; None if the file system has no record locks."""
    if fcntl is None:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_at(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except OSError:
        return False


def _beats(file: Path) -> bool:
    """Whether the owner's heartbeat arrives within `MISSED_BEATS` heartbeats; blocks until then."""
    log.info("waiting %.0f s for a heartbeat of the owner of %s", HEARTBEAT_SECONDS * MISSED_BEATS, file)
    before, until = _pulse(file), time.monotonic() + HEARTBEAT_SECONDS * MISSED_BEATS
    while time.monotonic() < until:
        time.sleep(HEARTBEAT_SECONDS / 4)
        if (now := _pulse(file)) != before:
            return now is not None
    return False


def _pulse(file: Path) -> tuple[int, bytes] | None:
    """Modification time and content, which a heartbeat or a new owner changes; None if there is no file."""
    try:
        with file.open("rb") as opened:  # opening the file makes NFS refresh its cached attributes
            return os.fstat(opened.fileno()).st_mtime_ns, opened.read(4096)
    except OSError:
        return None


def _beat(hold: _Hold, file: Path) -> None:
    while not hold.stop.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(hold.handle if os.utime in os.supports_fd else file)


def _remove(file: Path, content: bytes, path: Path, label: str) -> None:
    """Remove the lock file of a dead owner, unless another process wins the race and becomes the owner."""
    aside = file.with_name(f"{file.name}-{os.getpid()}-{time.time_ns()}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return
    except OSError:  # on Windows, another process has the file open
        raise BusyError(_busy_message(path, label, content)) from None
    found = aside.read_bytes()
    if found == content:
        aside.unlink()
        return
    with suppress(OSError):
        aside.rename(file)
    raise BusyError(_busy_message(path, label, found))


def _record() -> bytes:
    now = datetime.now().isoformat(sep=" ", timespec="microseconds")
    return json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now}).encode()


def _parse(content: bytes) -> dict[str, str]:
    try:
        record = json.loads(content)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _busy_message(path: Path, label: str, content: bytes) -> str:
    record = _parse(content)
    owner = "another process"
    if record:
        since = str(record.get("since")).partition(".")[0]
        owner = f"process {record.get('process')} on {record.get('host')} since {since}"
    return f"{label} {path} is being written by {owner}; wait for that process or stop it, then run this again"
