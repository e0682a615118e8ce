"""Atomic writing: a file or folder is either complete or absent."""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actionrec.system.errors import ActionRecError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL, REPLACED = ".partial", ".replaced"
WORKING_SUFFIXES = (PARTIAL, REPLACED)  # of folders beside a run that are no run, see `runs.folder.RunFolder`
_PREFIX_LENGTH = 18


def _temporary_prefix(path: Path) -> str:
    # A hash keeps the prefix short and distinct: file names may have the maximum length and share their beginning.
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[: _PREFIX_LENGTH - 2]}-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` when the block ends, or is removed if the block raises.

    The temporary name keeps the suffix of `path`, since several writers choose their format by the suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = -1, ""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_temporary_prefix(path), suffix=path.suffix)
        if not _lock(handle):  # the lock tells `remove_leftovers` that the writer of this file is alive
            os.close(handle)
            handle = -1
        temporary = Path(name)
        temporary.chmod(0o644)  # mkstemp creates files with 0600, unreadable for other users of a shared disk
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and (not error.filename or _is_temporary(str(error.filename), path)):
            error.filename = str(path)  # the caller knows `path` only; a full disk is reported without a file name
        raise
    finally:
        if handle >= 0:
            os.close(handle)


def _is_temporary(name: str, path: Path) -> bool:
    return Path(name).name.startswith(_temporary_prefix(path))


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove temporary files of `paths` whose writers were killed; files of running writers stay."""
    prefixes: dict[Path, set[str]] = {}
    for path in paths:
        prefixes.setdefault(path.parent, set()).add(_temporary_prefix(path))
    for folder, known in prefixes.items():
        for file in folder.glob(".*"):
            if file.name[:_PREFIX_LENGTH] in known and not _is_being_written(file):
                file.unlink(missing_ok=True)


def _lock(handle: int) -> bool:
    """Lock an open file; False if another process holds the lock or the file system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_being_written(file: Path) -> bool:
    if fcntl is None:
        return False
    try:
        handle = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no locks
        return False
    finally:
        os.close(handle)
    return False


def require_writable(path: Path, key: str) -> None:
    """Raise unless a file could be written at `path`; no file or folder stays.

    Args:
        path: need not exist, nor its folder.
        key: the setting that names the path, for the message.

    Raises:
        ActionRecError: the nearest existing folder takes no new file.
    """
    place = next(each for each in path.absolute().parents if each.exists())
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise ActionRecError(f"{key}={path} cannot be written ({error.strerror}); name another place") from None


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically; NaN and infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds, to detect a changed file without reading it."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; it replaces `path` when the block ends, or is removed if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    temporary.chmod(0o755)  # mkdtemp creates folders with 0700
    old = path.with_name(f"{path.name}{REPLACED}")
    try:
        yield temporary
        if old.exists() and path.exists():  # the last writer was killed before it removed the old folder
            shutil.rmtree(old)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and not error.filename:
            error.filename = str(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
