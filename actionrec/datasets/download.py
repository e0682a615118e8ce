"""Download of files: interrupted downloads are resumed, and files are verified before they get their final name."""

import json
import logging
import re
import ssl
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from actionrec.system import files
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a received byte
PAUSES = (1.0, 2.0, 4.0)  # seconds of back-off before further attempts; restarted whenever an attempt made progress
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_PERMANENT = (ssl.SSLCertVerificationError, FileNotFoundError, IsADirectoryError, PermissionError)


class _TransferError(Exception):
    def __init__(self, why: str, *, transient: bool = False, stale: bool = False) -> None:
        super().__init__(" ".join(why.split()))
        self.transient = transient  # whether another attempt may succeed
        self.stale = stale  # whether the server's file has changed since the part was begun


class _Note(NamedTuple):
    """A file beside a part, to detect whether the server's file has changed since the part was begun."""

    url: str
    version: str  # value for If-Range: a strong ETag, or Last-Modified, or empty
    total: int | None


def download(url: str, path: Path, *, size: int | None = None, sha256: str | None = None) -> Path:
    """Download `url` (http, https or file) to `path`, unless `path` exists.

    The bytes are written to `<path>.part`, which is renamed once size and hash are verified. A later call continues the
    part if the server's file has not changed.

    Args:
        url: address of the file.
        path: the file on disk.
        size: expected number of bytes; None is not checked.
        sha256: expected SHA-256; None is not checked.

    Raises:
        ActionRecError: the file cannot be downloaded or written, or has another size or hash. A part that a later call
            can continue is kept; an existing wrong `path` is not changed.
    """
    if path.exists():
        if wrong := _mismatch(path, size, sha256):
            raise ActionRecError(f"{path} is not {url}: {wrong}; remove the file to download it again")
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and not _note_path(part).exists():  # written by another program, such as a browser
            raise ActionRecError(f"{part} was not written by actionrec; move it away, then run this again")
        _fetch(url, part, size)
        if wrong := _mismatch(part, size, sha256):
            _discard(part)
            raise _TransferError(wrong)
        part.replace(path)
        _discard(part)
    except _TransferError as error:
        resume = f" to resume at {_size(part) / 1e6:.1f} MB" if _size(part) else ""
        again = f"run this again{resume}, or " if error.transient else ""
        by_hand = f"download it by hand and save it as {path}, or give a folder or an archive as source=..."
        raise ActionRecError(f"{url}: {error}; {again}{by_hand}") from error
    except OSError as error:
        raise ActionRecError(f"cannot write {part}: {error.strerror}; fix that, then run this again") from error
    return path


def _fetch(url: str, part: Path, size: int | None) -> None:
    pauses, reached = iter(PAUSES), _size(part)
    while True:
        try:
            return _transfer(url, part, size)
        except _TransferError as error:
            if error.stale:
                _discard(part)
            if _size(part) > reached:
                pauses, reached = iter(PAUSES), _size(part)
            pause = next(pauses, None)
            if pause is None or not (error.transient or error.stale):
                raise
            log.warning("%s: %s; trying again in %g s", url, error, pause)
            time.sleep(pause)


def _transfer(url: str, part: Path, size: int | None) -> None:
    """One attempt to download the bytes that `part` lacks."""
    note, start = _read_note(part, url), _size(part)
    if note and start == note.total:
        return  # an earlier call was stopped between the last byte and the verification of the file
    headers = {"User-Agent": "actionrec", "Accept-Encoding": "identity"}
    if note:
        headers["Range"] = f"bytes={start}-"
        if note.version:
            headers["If-Range"] = note.version
    with _network_errors():
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    with response:
        if response.status == 206 and note:
            if not _continues(response, start, note):  # the server ignored If-Range
                raise _TransferError("the file has changed on the server", stale=True)
        else:
            length = response.headers.get("Content-Length", "")
            note = _Note(url, _version(response), int(length) if length.isdigit() else None)
            if None not in (size, note.total) and size != note.total:
                raise _TransferError(f"expected {size} bytes, got {note.total}")
            _discard(part)
            files.write_text(_note_path(part), json.dumps(note._asdict()))
        _append(response, part, note.total)
    total = size if note.total is None else note.total
    if total is not None and _size(part) < total:
        raise _TransferError(f"the connection was closed after {_size(part)} of {total} bytes", transient=True)


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        error.close()
        why = f"the server answered {error.code} {error.reason}"
        raise _TransferError(why, transient=error.code in _TRANSIENT, stale=error.code == 416) from error
    except URLError as error:
        transient = isinstance(error.reason, OSError) and not isinstance(error.reason, _PERMANENT)
        raise _TransferError(str(error.reason), transient=transient) from error
    except ValueError as error:  # InvalidURL is a ValueError
        raise _TransferError(str(error)) from error
    except (HTTPException, OSError) as error:
        raise _TransferError(str(error) or type(error).__name__, transient=True) from error


def _append(response: HTTPResponse, part: Path, total: int | None) -> None:
    bar = tqdm(desc=part.stem, initial=_size(part), total=total, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab") as file:
        while True:
            with _network_errors():
                block = response.read(1 << 16)
            if not block:
                return
            file.write(block)
            bar.update(len(block))


def _continues(response: HTTPResponse, start: int, note: _Note) -> bool:
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (
        sent is not None
        and int(sent[1]) == start
        and (note.total is None or sent[2] in ("*", str(note.total)))
        and _version(response) in ("", note.version)
    )


def _version(response: HTTPResponse) -> str:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path, url: str) -> _Note | None:
    """The note of a part, if the part is of `url` and can be continued."""
    try:
        note = _Note(**json.loads(_note_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return note if note.url == url and _size(part) else None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mismatch(path: Path, size: int | None, sha256: str | None) -> str:
    """Description of a wrong size or hash; empty if both are right."""
    if size is not None and _size(path) != size:
        return f"expected {size} bytes, got {_size(path)}"
    if sha256 is not None and (got := files.sha256(path)) != sha256.lower():
        return f"expected sha256 {sha256}, got {got}"
    return ""


class Address(NamedTuple):
    """A file on the web, with its expected size in bytes and SHA-256."""

    url: str
    size: int | None = None
    sha256: str | None = None


Sources = Iterable[Path | Address]  # the user's folders and archives, and archives to download


def fetched(sources: Sources, downloads: Path) -> list[Path]:
    """Folders and archives on disk; addresses are downloaded into `downloads`, where the files stay."""
    paths = []
    for source in sources:
        if isinstance(source, Address):
            name = Path(unquote(urlsplit(source.url).path)).name
            name = name if name not in ("", "..") else "download"
            source = download(source.url, downloads / name, size=source.size, sha256=source.sha256)
        paths.append(source)
    if not paths:
        raise ActionRecError("no download address is known for this data; give a folder or archives as source=...")
    return paths
