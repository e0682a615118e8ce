"""Unpack archives from strangers, and archives within them: all or nothing, safely."""

import os
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from lzma import LZMAError
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory, mkdtemp

from actionrec.system.errors import ActionRecError
from actionrec.system.locks import acquire, release

MARK = ".made-by-actionrec"  # in temporary folders
SUFFIXES = (".zip", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz")
_7Z = ("x", "-y", "-bd", "-bso0", "-bsp0", "-p-", "-spd", "--")
RAR_TOOLS = {  # by preference; without questions, passwords and the archive's owners
    "unrar": ("x", "-idq", "-o+", "-p-", "--"),
    "7zz": _7Z,
    "7z": _7Z,
    "bsdtar": ("-x", "--no-same-owner", "--no-same-permissions", "-f"),
}

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, KeyError, RuntimeError, ValueError)


class _ToolError(Exception):
    """A tool could not unpack a rar archive."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `target` when the block ends, and is removed if the block raises.

    A `target` that is there already and is not an empty folder is an ActionRecError.
    """
    require_vacant(target)
    target = target.resolve()  # what a link leads to is filled
    with workspace(target) as temporary:
        folder = temporary / "new"  # made by mkdir, so with the user's umask and not with mkdtemp's 0700
        folder.mkdir()
        yield folder
        folder.replace(target)


def require_vacant(target: Path) -> None:
    """Raise if something lies at `target` that is no empty folder: nothing of the user's is replaced or added to."""
    try:
        vacant = not any(target.iterdir()) if target.is_dir() else not os.path.lexists(target)
    except OSError as error:
        raise ActionRecError(f"cannot look into {target}: {error.strerror}") from error
    if not vacant:
        raise ActionRecError(f"{target} is there already and not empty; choose another folder, or move it away")


@contextmanager
def workspace(beside: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a path, removed when the block ends.

    It is on the same file system, so that its files can be moved and linked. A mark within tells it from the user's own
    folders, should the process be killed; see `only_preparation`.
    """
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(dir=beside.parent, prefix=f".{beside.name}-")
        Path(temporary.name, MARK).touch()
    except OSError as error:
        raise ActionRecError(f"cannot make a folder in {beside.parent}: {error.strerror}") from error
    with temporary as folder:
        yield Path(folder)


@contextmanager
def only_preparation(target: Path, *inner: Path) -> Iterator[None]:
    """Be the only process that fills `target`, and remove the workspaces that killed ones left beside it.

    Args:
        target: the place of a data set.
        inner: further places that it fills.

    Raises:
        ActionRecError: another process is at it, or the folder that it lies in cannot be written to.
    """
    try:
        acquire(target, "data set")
    except OSError as error:
        raise ActionRecError(f"cannot write to {target.parent}: {error.strerror}") from error
    try:
        for place in (target, *inner):
            _remove_leftovers(place.resolve())
        yield
    finally:
        release(target)


def _remove_leftovers(place: Path) -> None:
    temporary = re.compile(re.escape(f".{place.name}-") + r"[a-z0-9_]{8}")  # as tempfile names them
    for path in place.parent.iterdir() if place.parent.is_dir() else ():
        if temporary.fullmatch(path.name) and (path / MARK).is_file() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip, tar (also .gz, .bz2, .xz) or rar archive, told apart by their first bytes, into the new `target`.

    The archives come from mirrors and are not trusted: an entry that would leave `target`, a symbolic link or a device
    is an error. Hard links are taken from a tar only, and only to another of its entries.

    Raises:
        ActionRecError: `archive` is missing, damaged, unsafe or of another format; rar, and no tool that unpacks it.
    """
    if archive.exists() and not archive.is_file():  # a device or a pipe might never end
        raise ActionRecError(f"cannot unpack {archive}: it is no file; give an archive, or a folder")
    try:
        with archive.open("rb") as file:
            head = file.read(4)
        if head == b"Rar!":
            _unpack_rar(archive, target)
        else:
            with new_folder(target) as folder:
                (_unpack_zip if head.startswith(b"PK") else _unpack_tar)(archive, folder)
    except OSError as error:
        if error.errno is not None:  # gzip and bz2 raise bare OSErrors on damage; the others are about the disk
            raise ActionRecError(f"cannot unpack {archive}: {error.strerror} ({error.filename or target})") from error
        raise _damaged(archive, error) from error
    except _DAMAGED as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, why: object) -> ActionRecError:
    reason = str(why).partition("\n")[0].rstrip(":") or "it ends early"  # tarfile adds a list of what it tried
    return ActionRecError(f"cannot unpack {archive}: {reason}; it is damaged or no zip, tar or rar: fetch it again")


def _check_entry(archive: Path, name: str, plain: bool = True) -> None:
    """Refuse all but plain files and folders, and names that are absolute or climb on POSIX or Windows."""
    path = PureWindowsPath(name)
    if not plain or path.anchor or ".." in path.parts:
        raise ActionRecError(
            f"{archive} is not safe to unpack: {name!r} is a link, a device or outside its folder; get it elsewhere"
        )


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the zip was not made on Unix
            _check_entry(archive, entry.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            file.extract(entry, folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, errorlevel=2) as file:
        file.extraction_filter = getattr(tarfile, "data_filter", None)  # Python < 3.10.12 has none
        for entry in file:
            _check_entry(archive, entry.name, entry.isfile() or entry.isdir() or entry.islnk())
            _check_entry(archive, entry.linkname)
            file.extract(entry, folder, set_attrs=False)
        # To tarfile the end of the file, and any damaged header, is the end of the archive: a block of zeros must be.
        stream = file.fileobj
        assert stream is not None
        ended = stream.tell() == file.offset + tarfile.BLOCKSIZE
        if not ended or any(block.strip(b"\0") for block in iter(lambda: stream.read(1 << 20), b"")):
            raise tarfile.ReadError("its end is missing")


def _unpack_rar(archive: Path, target: Path) -> None:
    """Try each tool in turn, since some know a part of the format only: unrar-free, or 7z without its rar codec."""
    failures = []
    for tool in filter(shutil.which, RAR_TOOLS):
        try:
            with new_folder(target) as folder:
                _run_rar_tool(tool, archive, folder)
                _check_files(archive, folder)
            return
        except _ToolError as error:
            failures.append(f"{tool}: {error}")
    why = f"it may be damaged ({'; '.join(failures)})" if failures else "no tool for rar is on PATH"
    raise ActionRecError(
        f"cannot unpack {archive}: {why}; install one of {', '.join(RAR_TOOLS)} that can, or unpack it elsewhere and"
        " give the folder"
    )


def _run_rar_tool(tool: str, archive: Path, folder: Path) -> None:
    # The tools unpack into their working folder: on a command line some of them give `*` in its name a meaning.
    # An absolute archive is never taken for an option (`-`) or a list of files (`@`).
    command = [tool, *RAR_TOOLS[tool], str(archive.absolute())]
    environment = dict(os.environ)
    if environment.get("LC_ALL") in ("C", "POSIX"):  # bsdtar and unrar cannot write non-ASCII names then
        environment["LC_ALL"] = "C.UTF-8"
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise _ToolError(" ".join(done.stderr.split())[:120] or f"exit status {done.returncode}")
    if not any(folder.iterdir()):
        raise _ToolError("it unpacked nothing")


def _check_files(archive: Path, folder: Path) -> None:
    """Check what a tool made, and give it the usual permissions in place of the archive's own."""
    for root, folders, names in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *names)):
            status = path.lstat()
            plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            _check_entry(archive, path.relative_to(folder).as_posix(), plain or stat.S_ISDIR(status.st_mode))
            path.chmod(0o644 if plain else 0o755)  # a folder's before os.walk enters it


@contextmanager
def opened(beside: Path, *inner: Path) -> Iterator[Callable[[Iterable[Path], Mapping[str, str]], list[Path]]]:
    """Yield a function that turns folders and archives into folders to look in, which last as long as the block.

    An archive is unpacked once, into a temporary folder beside the given path. The function's second argument chooses
    the archives within these folders and archives that are unpacked too: by file name without suffix, with a pattern of
    what they hold. One is left alone if its folder holds such files already.

    One process at a time has such a block beside a path; for `inner` see `only_preparation`.
    """
    with only_preparation(beside, *inner), workspace(beside) as temporary:

        @cache
        def folder_of(path: Path) -> Path:
            if path.is_dir():
                return path
            folder = Path(mkdtemp(dir=temporary), _stem(path))
            unpack(path, folder)
            return folder

        def folders(paths: Iterable[Path], inner: Mapping[str, str]) -> list[Path]:
            found: list[Path] = []
            for _ in range(3):  # archives in archives in a folder: HMDB51's go no deeper
                level = [folder_of(path) for path in paths]
                paths = [archive for folder in level for archive in _inner_archives(folder, inner)]
                found += level
            return found

        yield folders


def _inner_archives(folder: Path, inner: Mapping[str, str]) -> list[Path]:
    absent = {pattern for pattern in set(inner.values()) if not find([folder], pattern)}
    return [path for path in find([folder], "*.*") if path.suffix in SUFFIXES and inner.get(_stem(path)) in absent]


def _stem(archive: Path) -> str:
    return archive.name.partition(".")[0]  # Path.stem leaves the .tar of .tar.gz


def find(folders: Iterable[Path], pattern: str) -> list[Path]:
    """Files at any depth whose name matches `pattern`, without those that macOS adds (`__MACOSX`, `._name`)."""
    return sorted(
        path
        for folder in folders
        for path in folder.rglob(pattern)
        if path.is_file()
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
    )
