"""Files that are taken from a browser; of those that are refused nothing is left."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from actionrec.page.uploads import HEAD, containers_only, receive, suffix_of
from tests.conftest import attempt

FRAME = np.zeros((48, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("suffix", "code"), [(".avi", "XVID"), (".mp4", "mp4v"), (".mov", "mp4v"), (".mkv", "XVID"), (".webm", "VP80")]
)
def test_videos_are_known_by_their_beginning(tmp_path, suffix, code):
    path = tmp_path / f"a{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, (64, 48))
    writer.write(FRAME)
    writer.release()
    assert suffix_of(path.read_bytes()[:HEAD]) == {".mov": ".mp4", ".webm": ".mkv"}.get(suffix, suffix)


@pytest.mark.parametrize(
    ("suffix", "code"),
    [(".avi", "XVID"), (".mp4", "mp4v"), (".mkv", "XVID"), (".webm", "VP80"), (".mpg", "MPG1"), (".wmv", "WMV2")],
)
def test_ffmpeg_opens_these_containers_and_no_list_of_files(tmp_path, suffix, code):
    video, listed = tmp_path / f"a{suffix}", tmp_path / "list.mkv"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*code), 25, (64, 48))
    for _ in range(3):
        writer.write(FRAME)
    writer.release()
    listed.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    assert cv2.VideoCapture(str(listed), cv2.CAP_FFMPEG).isOpened()  # without the options
    with containers_only():
        assert not cv2.VideoCapture(str(listed), cv2.CAP_FFMPEG).isOpened()
        assert cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).read()[0]
    assert cv2.VideoCapture(str(listed), cv2.CAP_FFMPEG).isOpened()
    assert suffix_of(video.read_bytes()[:HEAD])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_images_are_known_by_their_beginning(suffix):
    assert suffix_of(cv2.imencode(suffix, FRAME)[1].tobytes()[:HEAD]) == suffix


NO_VIDEO = {
    "text": b"This is a text and no video at all.",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/secret\n",
    "playlist after a mark": b"\xef\xbb\xbf#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
    "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\n",
    "manifest": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">',
    "script of images": b"%d.png" * 10,
    "page": b"<!doctype html><script>alert(1)</script>",
    "sound": b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
    "short": b"BX",
    "archive": b"PK\x03\x04" + bytes(30),
}


@pytest.mark.parametrize("content", NO_VIDEO.values(), ids=NO_VIDEO)
def test_other_files_are_refused_and_nothing_is_left(tmp_path, content):
    for size in (1, 7, len(content)):
        message = refused(tmp_path, pieces(content, size))
        assert message == "this is neither a video nor an image that can be read; choose another file"


def test_a_file_keeps_its_bytes_and_none_of_its_name(tmp_path):
    content = cv2.imencode(".png", FRAME)[1].tobytes()
    path = asyncio.run(receive(sent(pieces(content, 5)), tmp_path, 1))
    assert path.read_bytes() == content
    assert path.suffix == ".png"
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_file_is_refused(tmp_path):
    assert refused(tmp_path, []) == "the file is empty; choose another one"


def test_a_large_file_is_refused_before_it_has_arrived(tmp_path):
    arrived = []

    def endless() -> Iterator[bytes]:
        while True:
            arrived.append(1)
            yield b"\x1aE\xdf\xa3" + bytes(99_996)

    assert refused(tmp_path, endless()) == "the file is larger than 1 MB; cut it, or choose another one"
    assert len(arrived) == 11


def test_a_connection_that_breaks_leaves_nothing(tmp_path):
    def broken() -> Iterator[bytes]:
        yield b"\x1aE\xdf\xa3" + bytes(100)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(receive(sent(broken()), tmp_path, 1))
    assert list(tmp_path.iterdir()) == []


def refused(folder: Path, chunks) -> str:
    _, message = attempt(asyncio.run, receive(sent(chunks), folder, 1))
    assert list(folder.iterdir()) == []
    return message


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


async def sent(chunks) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
