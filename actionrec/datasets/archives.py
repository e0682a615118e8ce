"""Safe, atomic unpacking of untrusted archives, and of archives inside archives."""

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

MARK = ".made-by-actionrec"  # file that marks temporary folders
SUFFIXES = (".zip", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz")
_7Z = ("x", "-y", "-bd", "-bso0", "-bsp0", "-p-", "-spd", "--")
RAR_TOOLS = {  # in order of preference; the options turn off prompts, passwords and the archive's file owners
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

    Raises:
        ActionRecError: `target` exists and is not an empty folder.
    """
    require_vacant(target)
    target = target.resolve()  # if `target` is a symbolic link, the folder behind the link is filled
    with workspace(target) as temporary:
        folder = temporary / "new"  # mkdir uses the user's umask, while mkdtemp creates folders with 0700
        folder.mkdir()
        yield folder
        folder.replace(target)


def require_vacant(target: Path) -> None:
    """Raise unless `target` is absent or an empty folder, so that no files of the user are changed."""
    try:
        vacant = not any(target.iterdir()) if target.is_dir() else not os.path.lexists(target)
    except OSError as error:
        raise ActionRecError(f"cannot read {target}: {error.strerror}; fix that or choose another folder") from error
    if not vacant:
        raise ActionRecError(f"{target} exists and is not an empty folder; choose another folder, or move it away")


@contextmanager
def workspace(beside: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a path; the folder is removed when the block ends.

    The folder is on the path's file system, so that its files can be renamed and hard-linked. If the process is killed,
    the file `MARK` identifies the folder as a leftover, see `only_preparation`.
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
    """Hold the lock of a data set's folder while the block runs; first remove workspaces of killed processes.

    Args:
        target: the folder of the data set.
        inner: further folders that the block fills.

    Raises:
        ActionRecError: another process holds the lock, or the parent folder is not writable.
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
    temporary = re.compile(re.escape(f".{place.name}-") + r"[a-z0-9_]{8}")  # the names that tempfile chooses
    for path in place.parent.iterdir() if place.parent.is_dir() else ():
        if temporary.fullmatch(path.name) and (path / MARK).is_file() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip, tar (also .gz, .bz2, .xz) or rar archive into the new folder `target`.

    The first bytes decide the format. The archives come from mirrors and are not trusted: an entry outside of `target`,
    a symbolic link or a device is an error. Hard links are allowed in a tar only, to another entry of the tar.

    Raises:
        ActionRecError: `archive` is missing, damaged, unsafe or of another format, or no installed tool unpacks rar.
    """
    if archive.exists() and not archive.is_file():  # reading a device or a pipe might never end
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
        if error.errno is not None:  # OSErrors of the disk have an errno; gzip and bz2 raise OSErrors without one
            raise ActionRecError(f"cannot unpack {archive}: {error.strerror} ({error.filename or target})") from error
        raise _damaged(archive, error) from error
    except _DAMAGED as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, why: object) -> ActionRecError:
    reason = str(why).partition("\n")[0].rstrip(":") or "it ends early"  # tarfile appends its attempted formats
    return ActionRecError(f"cannot unpack {archive}: {reason}; it is damaged or no zip, tar or rar: fetch it again")


def _check_entry(archive: Path, name: str, plain: bool = True) -> None:
    """Raise unless an entry is a plain file or folder with a relative path without `..`, on POSIX and on Windows."""
    path = PureWindowsPath(name)
    if not plain or path.anchor or ".." in path.parts:
        raise ActionRecError(
            f"{archive} is not safe to unpack: {name!r} is a link, a device or outside its folder; get it elsewhere"
        )


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 if the zip was not made on Unix
            _check_entry(archive, entry.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            file.extract(entry, folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, errorlevel=2) as file:
        file.extraction_filter = getattr(tarfile, "data_filter", None)  # Python < 3.10.12 has none
        for entry in file:
            _check_entry(archive, entry.name, entry.isfile() or entry.isdir() or entry.islnk())
            _check_entry(archive, entry.linkname)
            file.extract(entry, folder, set_attrs=False)
        # tarfile takes the end of the file or a damaged header for the end of the archive; a complete archive ends with
        # blocks of zeros.
        stream = file.fileobj
        assert stream is not None
        ended = stream.tell() == file.offset + tarfile.BLOCKSIZE
        if not ended or any(block.strip(b"\0") for block in iter(lambda: stream.read(1 << 20), b"")):
            raise tarfile.ReadError("its end is missing")


def _unpack_rar(archive: Path, target: Path) -> None:
    """Try all installed tools, since some support a part of rar only (unrar-free, or 7z without its rar codec)."""
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
    # The tools unpack into their working folder, since some of them expand `*` in a target folder's name. The path of
    # the archive is absolute, so that it cannot be read as an option (`-`) or a list of files (`@`).
    command = [tool, *RAR_TOOLS[tool], str(archive.absolute())]
    environment = dict(os.environ)
    if environment.get("LC_ALL") in ("C", "POSIX"):  # in these locales bsdtar and unrar cannot write non-ASCII names
        environment["LC_ALL"] = "C.UTF-8"
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise _ToolError(" ".join(done.stderr.split())[:120] or f"exit status {done.returncode}")
    if not any(folder.iterdir()):
        raise _ToolError("it unpacked nothing")


def _check_files(archive: Path, folder: Path) -> None:
    """Check the files that a tool has unpacked, and replace the archive's permissions by 0644 and 0755."""
    for root, folders, names in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *names)):
            status = path.lstat()
            plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            _check_entry(archive, path.relative_to(folder).as_posix(), plain or stat.S_ISDIR(status.st_mode))
            path.chmod(0o644 if plain else 0o755)  # folders become readable before os.walk enters them


@contextmanager
def opened(beside: Path, *inner: Path) -> Iterator[Callable[[Iterable[Path], Mapping[str, str]], list[Path]]]:
    """Yield a function that converts a list of folders and archives to a list of folders, valid within the block.

    An archive is unpacked once, into a temporary folder beside the given path. The function's second argument lists
    inner archives that are unpacked too: names without suffix, each with a pattern of the files in it. An inner archive
    is skipped if such files exist beside it.

    One process at a time runs such a block for a path; for `inner` see `only_preparation`.
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
            for _ in range(3):  # a folder of archives of archives, as HMDB51's; none is nested deeper
                level = [folder_of(path) for path in paths]
                paths = [archive for folder in level for archive in _inner_archives(folder, inner)]
                found += level
            return found

        yield folders


def _inner_archives(folder: Path, inner: Mapping[str, str]) -> list[Path]:
    absent = {pattern for pattern in set(inner.values()) if not find([folder], pattern)}
    return [path for path in find([folder], "*.*") if path.suffix in SUFFIXES and inner.get(_stem(path)) in absent]


def _stem(archive: Path) -> str:
    return archive.name.partition(".")[0]  # Path.stem of a.tar.gz is a.tar


def find(folders: Iterable[Path], pattern: str) -> list[Path]:
    """Files at any depth whose name matches `pattern`, without the extra files of macOS (`__MACOSX`, `._name`)."""
    return sorted(
        path
        for folder in folders
        for path in folder.rglob(pattern)
        if path.is_file()
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
    )
