"""Files that a browser sends: received within limits, and recognised by their first bytes."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from actionrec.system.errors import ActionRecError

HEAD = 16  # bytes that `suffix_of` looks at
MEGABYTE = 1_000_000
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # which OpenCV reads, and hands to FFmpeg, whenever it opens a file
_OPTIONS = "protocol_whitelist;file|format_whitelist;avi,matroska,mov,mpeg,mpegvideo,asf,flv,ogg"
_STARTS = {  # first bytes of containers and images
    b"\x1aE\xdf\xa3": ".mkv",  # and WebM
    b"\x00\x00\x01\xba": ".mpg",
    b"\x00\x00\x01\xb3": ".mpg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ".wmv",
    b"FLV\x01": ".flv",
    b"OggS": ".ogv",
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"BM": ".bmp",
}
_RIFF = {b"AVI ": ".avi", b"WEBP": ".webp"}
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # first ones of MP4 and QuickTime


def suffix_of(head: bytes) -> str | None:
    """The suffix of a video or an image, by its first `HEAD` bytes; None for any other file.

    FFmpeg recognises formats by their content, too, and playlists, scripts and descriptions of sessions are among
    them, which name further files and addresses that FFmpeg would open. None of these begins like a format here, and
    FFmpeg may not open them, see `containers_only`.
    """
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] in _BOXES:
        return ".mp4"
    return next((suffix for start, suffix in _STARTS.items() if head.startswith(start)), None)


@contextmanager
def containers_only() -> Iterator[None]:
    """Let FFmpeg open the containers of `suffix_of` alone, and no other protocol than that of files."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = _OPTIONS
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE)
        if before is not None:
            os.environ[_VARIABLE] = before


async def receive(chunks: AsyncIterator[bytes], folder: Path, megabytes: float) -> Path:
    """Write the upload of a browser into a file with a random name.

    Args:
        chunks: of the file.
        folder: for the file.
        megabytes: largest size.

    Raises:
        ActionRecError: the file is empty, too large, or neither a video nor an image; nothing is left of it.
    """
    path = folder / secrets.token_hex(16)
    received, head = 0, b""
    try:
        with path.open("xb") as file:
            async for chunk in chunks:
                received += len(chunk)
                check_size(received, megabytes)
                if len(head) < HEAD:
                    head = (head + chunk)[:HEAD]
                    if len(head) == HEAD:
                        _suffix(head)
                file.write(chunk)
        if not received:
            raise ActionRecError("the file is empty; choose another one")
        return path.rename(path.with_suffix(_suffix(head)))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def check_size(size: float, megabytes: float) -> None:
    """Raise ActionRecError if a file of `size` bytes is too large."""
    if size > megabytes * MEGABYTE:
        raise ActionRecError(f"the file is larger than {megabytes:g} MB; cut it, or choose another one")


def _suffix(head: bytes) -> str:
    if suffix := suffix_of(head):
        return suffix
    raise ActionRecError("this is neither a video nor an image that can be read; choose another file")
