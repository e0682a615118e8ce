"""One writer at a time for a place on disk, also among machines that share the disk.

The lock is a hidden file beside the place. Where the file system has POSIX record locks, they decide: the kernel, or
the server of a shared disk, lets go of one when its process dies, whatever processes that has forked. Where there are
none (some cluster file systems, Windows), and where a record lock may hold on one machine only, the owner's heartbeat
decides: a living owner sets the file's time every few seconds.
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
MISSED_BEATS = 4  # after which an owner counts as dead where only its heartbeat can tell

_BUSY = {errno.EACCES, errno.EAGAIN}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_RETRY_SECONDS = 0.2
_held: dict[Path, "_Hold"] = {}
_held_guard = threading.RLock()
log = logging.getLogger(__name__)


class BusyError(ActionRecError):
    """Another process writes there."""


@dataclass
class _Hold:
    handle: int
    process: int
    depth: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    heart: threading.Thread | None = None


@contextmanager
def only_writer(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Be the only process that writes to a place, as long as the block lasts; see `acquire`."""
    acquire(path, what, wait)
    try:
        yield
    finally:
        release(path)


def acquire(path: Path, what: str, wait: bool = False) -> None:
    """Become the only writer of a place until `release`, or until this process ends, in whatever way.

    A process that is the writer already may acquire the place again, and releases it as often. Processes that it
    forks are no owners.

    Args:
        path: the place, a file or a folder that need not exist.
        what: names it in messages, such as `run`.
        wait: whether to wait for another writer's end, or to raise.

    Raises:
        BusyError: another process is the writer; the message names it.
        OSError: the folder that the place is in cannot be written to.
    """
    file = lock_file(path)
    with _held_guard:
        hold = _held.get(file)
        if hold and hold.process == os.getpid():
            hold.depth += 1
            return
    file.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        try:
            handle = _open(file, path, what)
            break
        except OSError as error:
            error.filename = str(path)  # of which the lock's file says less
            if error.errno == errno.ENOENT:  # a folder that takes no files, such as /proc
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
            raise
        except BusyError as error:
            if not wait:
                raise
            if not told:
                log.info("waits: %s", error)
            told = True
            time.sleep(_RETRY_SECONDS)
    hold = _Hold(handle, os.getpid())
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, _record())
    except BaseException:
        _let_go(hold, file)
        raise
    # A daemon, so that it keeps no process alive; it takes no lock, which a fork could inherit.
    hold.heart = threading.Thread(target=_beat, args=(hold, file), daemon=True)
    hold.heart.start()
    with _held_guard:
        _held[file] = hold


def release(path: Path) -> None:
    """Let others write to a place; nothing happens where this process is not its writer."""
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
    """The file that stands for the right to write to a place, whatever links lead there."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{path.name}.lock")


def _let_go(hold: _Hold, file: Path) -> None:
    with suppress(OSError):  # removed by hand
        if os.name != "nt" and _is_at(hold.handle, file):
            file.unlink()  # before it is let go: whoever opened it finds out, see `_open`
    os.close(hold.handle)
    if os.name == "nt":  # does not remove open files
        with suppress(OSError):
            file.unlink()


def _open(file: Path, path: Path, what: str) -> int:
    """Open the lock's file as its owner.

    Raises:
        BusyError: there is another one.
    """
    dead: bytes | None = None  # what an owner that counts as dead has written
    while True:
        created = True
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileExistsError:
            created = False
            try:
                handle = os.open(file, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            except FileNotFoundError:  # its owner has just let go
                continue
        granted: bool | None = None
        content = b""
        try:
            granted = _try_record_lock(handle)
            content = os.read(handle, 4096)
            if granted is False:
                raise BusyError(_said(path, what, content))
            if granted and not _is_at(handle, file):  # its owner has removed it and let go since it was opened
                os.close(handle)
                continue
        except BaseException:
            os.close(handle)
            raise
        # A record lock may be this machine's alone, whatever another machine does on the same disk.
        elsewhere = content and _parse(content).get("host") != socket.gethostname()
        if created or (granted and (not elsewhere or content == dead)):
            return handle
        os.close(handle)
        if content == dead:
            _remove(file, content, path, what)
            continue
        if _beats(file):
            raise BusyError(_said(path, what, content))
        dead = content


def _try_record_lock(handle: int) -> bool | None:
    """Whether the lock was granted; None where the file system has none."""
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
    """Whether the owner gives a sign of life within the time in which a living one does."""
    log.info("looks for %.0f s whether the owner of %s lives", HEARTBEAT_SECONDS * MISSED_BEATS, file)
    before, until = _pulse(file), time.monotonic() + HEARTBEAT_SECONDS * MISSED_BEATS
    while time.monotonic() < until:
        time.sleep(HEARTBEAT_SECONDS / 4)
        if (now := _pulse(file)) != before:
            return now is not None
    return False


def _pulse(file: Path) -> tuple[int, bytes] | None:
    """What changes while the owner lives; None once there is no file."""
    try:
        with file.open("rb") as opened:  # opened anew, since shared disks keep what they know of a file for a while
            return os.fstat(opened.fileno()).st_mtime_ns, opened.read(4096)
    except OSError:
        return None


def _beat(hold: _Hold, file: Path) -> None:
    while not hold.stop.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(hold.handle if os.utime in os.supports_fd else file)


def _remove(file: Path, content: bytes, path: Path, what: str) -> None:
    """Remove the lock of a dead owner, unless another process has just done so and become the owner."""
    aside = file.with_name(f"{file.name}-{os.getpid()}-{time.time_ns()}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return
    except OSError:  # open elsewhere, on Windows
        raise BusyError(_said(path, what, content)) from None
    found = aside.read_bytes()
    if found == content:
        aside.unlink()
        return
    with suppress(OSError):
        aside.rename(file)
    raise BusyError(_said(path, what, found))


def _record() -> bytes:
    now = datetime.now().isoformat(sep=" ", timespec="microseconds")
    return json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now}).encode()


def _parse(content: bytes) -> dict[str, str]:
    try:
        record = json.loads(content)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _said(path: Path, what: str, content: bytes) -> str:
    record = _parse(content)
    owner = "another process"
    if record:
        since = str(record.get("since")).partition(".")[0]
        owner = f"process {record.get('process')} on {record.get('host')} since {since}"
    return f"{what} {path} is being written by {owner}; let that end or stop it, then run this again"
