import contextlib
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from actionrec.storage.video import count_frames, iter_frames, iter_gray, probe, read_frames, read_image
from actionrec.system.errors import ActionRecError
from tests.conftest import write_video
from tests.real_data import SAMPLES, needs

REAL_CLIPS = SAMPLES / "hmdb51_clips"


def gray_levels(path: Path, levels: list[int]) -> Path:
    return write_video(path, [np.full((48, 64, 3), level, np.uint8) for level in levels])


def test_a_damaged_file_is_told_by_its_name_alone(tmp_path):
    """FFmpeg would add lines without the name. OpenCV asks once whether FFmpeg may, so this is a process of its own."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    code = "import sys; from pathlib import Path; from actionrec.storage.video import probe; probe(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if str(path) not in line and "moov" in line]
    assert f"cannot decode the video {path}" in done.stderr
    assert lines == []


@pytest.mark.parametrize("name", ["plain.avi", "#1 Ölçü (a)&'b'!@[x];~+_wave_f_cm_np1_fr_med_0.avi", "-lead.avi"])
def test_frames_come_in_order_whatever_the_name(tmp_path, name):
    levels = [10, 60, 110, 160, 210]
    path = gray_levels(tmp_path / name, levels)
    assert count_frames(path) == 5
    for frames in (list(iter_frames(path)), read_frames(path, range(5)), list(iter_gray(path))):
        assert [abs(float(frame.mean()) - level) < 4 for frame, level in zip(frames, levels, strict=True)] == [True] * 5


def test_frames_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    [frame] = read_frames(write_video(tmp_path / "red.avi", [red] * 3), [1])
    assert frame[..., 0].mean() > 150
    assert frame[..., 2].mean() < 60


def test_wanted_frames_keep_the_asked_order(tmp_path):
    path = gray_levels(tmp_path / "v.avi", [10, 110, 210])
    means = [round(float(frame.mean()), -1) for frame in read_frames(path, [2, 0, 2])]
    assert means == [210, 10, 210]


def test_a_frame_past_the_end_is_an_error(tmp_path):
    with pytest.raises(ActionRecError, match="no frame 3"):
        read_frames(gray_levels(tmp_path / "v.avi", [0, 1, 2]), [0, 3])


@pytest.mark.parametrize("content", [None, b"", b"this is no video"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "bad.avi"
    if content is not None:
        path.write_bytes(content)
    for read in (count_frames, lambda p: list(iter_frames(p)), lambda p: read_frames(p, [0]), read_image):
        with pytest.raises(ActionRecError, match=r"bad\.avi"):
            read(path)


@needs(REAL_CLIPS)
def test_real_clips_decode_to_the_last_frame():
    clips = sorted(REAL_CLIPS.rglob("*.avi"))
    assert len(clips) == 12
    for path in clips:
        count = count_frames(path)
        assert count == sum(1 for _ in iter_frames(path))
        assert read_frames(path, [count - 1])[0].std() > 0


@pytest.mark.parametrize(
    ("suffix", "enough", "side"),
    [
        (".jpg", None, 1000),
        (".jpg", 112, 125),
        (".jpg", 125, 125),
        (".jpg", 126, 250),
        (".jpg", 251, 500),
        (".jpg", 501, 1000),
        (".png", 112, 1000),  # OpenCV would shrink it by leaving pixels out
    ],
)
def test_large_photos_are_decoded_as_small_as_is_enough(tmp_path, suffix, enough, side):
    image = np.zeros((1600, 1000, 3), np.uint8)
    image[..., 0] = np.linspace(0, 120, 1000)
    image[..., 2] = 100
    image += np.random.default_rng(0).integers(0, 30, image.shape, np.uint8)
    path = tmp_path / f"large{suffix}"
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert path.stat().st_size > 300_000
    found = read_image(path, enough)
    assert found.shape == (side * 8 // 5, side, 3)
    seen, true = (cv2.resize(each, (20, 32), interpolation=cv2.INTER_AREA).astype(int) for each in (found, image))
    assert np.abs(seen - true).max() <= 2


def test_small_images_keep_their_size(tmp_path):
    cv2.imwrite(str(tmp_path / "small.jpg"), np.zeros((400, 600, 3), np.uint8))
    assert read_image(tmp_path / "small.jpg", 10).shape == (400, 600, 3)


def encoded(kind: str) -> bytes:
    """The bytes of a small picture in a file format."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    buffer = BytesIO()
    form, mode, options = {
        "gray jpeg": ("JPEG", "L", {}),
        "cmyk jpeg": ("JPEG", "CMYK", {}),
        "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
        "jpeg with metadata": ("JPEG", "RGB", {"exif": b"Exif\x00\x00" + bytes(200), "comment": b"x" * 9000}),
        "gray png": ("PNG", "L", {}),
        "palette png": ("PNG", "P", {}),
        "transparent png": ("PNG", "RGBA", {}),
        "gray and alpha png": ("PNG", "LA", {}),
        "bits png": ("PNG", "1", {}),
        "16-bit png": ("PNG", "I;16", {}),
        "gif": ("GIF", "P", {}),
        "animated gif": ("GIF", "P", {"save_all": True, "append_images": [rgb.convert("P")] * 2}),
        "bmp": ("BMP", "RGB", {}),
        "webp": ("WEBP", "RGB", {}),
        "lossless webp": ("WEBP", "RGBA", {"lossless": True}),
        "tiff": ("TIFF", "RGB", {}),
        "packed tiff": ("TIFF", "RGB", {"compression": "tiff_deflate"}),
        "ppm": ("PPM", "RGB", {}),
    }[kind]
    picture = rgb.convert("I").convert("I;16") if mode == "I;16" else rgb.convert(mode)
    picture.save(buffer, form, **options)
    return buffer.getvalue()


PICTURES = ["gray jpeg", "cmyk jpeg", "progressive jpeg", "jpeg with metadata", "gray png", "palette png"]
PICTURES += ["transparent png", "gray and alpha png", "bits png", "16-bit png", "gif", "animated gif", "bmp", "webp"]
PICTURES += ["lossless webp", "tiff", "packed tiff", "ppm"]


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_any_kind_are_rgb(tmp_path, kind):
    path = tmp_path / "a.jpg"  # lists name them so, whatever they are
    path.write_bytes(encoded(kind))
    try:
        found = read_image(path)
    except ActionRecError:
        assert "gif" in kind  # which not every OpenCV reads
        return
    assert (found.shape, found.dtype) == ((30, 40, 3), np.uint8)


def turned(orientation: int) -> bytes:
    """A picture with a red left half and an EXIF orientation."""
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, :24, 0] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(("orientation", "red"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_pictures_are_turned_as_they_say(tmp_path, orientation, red):
    path = tmp_path / "a.jpg"
    path.write_bytes(turned(orientation))
    found = read_image(path)[..., 0].astype(float)
    height, width = found.shape
    halves = {
        "left": found[:, : width // 2],
        "right": found[:, width // 2 :],
        "top": found[: height // 2],
        "bottom": found[height // 2 :],
    }
    assert max(halves, key=lambda half: halves[half].mean()) == red
    assert (height > width) == (red in ("top", "bottom"))


def bomb(kind: str) -> bytes:
    """A few bytes whose header announces a picture of two thousand million pixels."""
    if kind == "png":
        header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunks = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
        framed = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks)
        return b"\x89PNG\r\n\x1a\n" + b"".join(framed)
    data = bytearray(cv2.imencode(f".{kind}", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    if kind == "jpg":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", 60_000, 60_000)
    else:
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("padded", [False, True], ids=["small", "large"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_headers_that_claim_too_much_are_refused_at_once(tmp_path, kind, padded):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bomb(kind) + bytes(400_000 if padded else 0))
    began = time.perf_counter()
    with pytest.raises(ActionRecError, match=r"cannot read the image .*a\."):
        read_image(path, 112)
    assert time.perf_counter() - began < 5


NO_MEDIA = {
    "text": b"hello\n" * 100,
    "zeros": bytes(10_000),
    "html": b"<html><img src=/etc/passwd></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "pdf": b"%PDF-1.4\n1 0 obj<<>>endobj\n",
    "m3u": b"#EXTM3U\n#EXTINF:1,\nclip.avi\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile clip.avi\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\n/etc/passwd\n",
    "zip": b"PK\x05\x06" + bytes(18),
    "script": b"#!/bin/sh\necho hello\n",
    "riff": b"RIFF\xff\xff\xff\x7fAVI LIST",
    "empty riff": b"RIFF\x04\x00\x00\x00AVI ",
    "mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
    "jpeg": b"\xff\xd8\xff",
    "png": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("kind", NO_MEDIA)
def test_what_only_looks_like_media_is_refused_and_names_no_other_file(tmp_path, kind):
    """A playlist must be refused, not replaced by the clip that it lists."""
    gray_levels(tmp_path / "clip.avi", [10, 60])
    for name in ("a.avi", "a.mp4", "a.m3u8", "a.jpg"):
        path = tmp_path / name
        path.write_bytes(NO_MEDIA[kind])
        for read in (count_frames, lambda p: list(iter_frames(p)), lambda p: read_frames(p, [0]), read_image):
            with pytest.raises(ActionRecError, match=re.escape(name)):
                read(path)
        with contextlib.suppress(ActionRecError):  # without decoding, some containers seem to be one
            assert probe(path)[1:3] != (48, 64)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 2), (48, 64), (47, 63), (10, 500)])
@pytest.mark.parametrize("codec", ["XVID", "MJPG"])
@pytest.mark.parametrize("n_frames", [1, 3])
def test_clips_of_odd_sizes_are_read_alike(tmp_path, height, width, codec, n_frames):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (width, height))
    for level in range(n_frames):
        writer.write(np.full((height, width, 3), 50 * level, np.uint8))
    writer.release()
    try:
        count = count_frames(path)
    except ActionRecError:
        assert min(height, width) == 2  # which OpenCV may not have written
        return
    assert count == n_frames == len(list(iter_frames(path))) == len(list(iter_gray(path)))
    assert read_frames(path, [count - 1])[0].shape == (height // 2 * 2, width // 2 * 2, 3)  # as OpenCV writes it


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "broken link"])
def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path, kind):
    path = tmp_path / "a.avi"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "broken link":
        path.symlink_to(tmp_path / "nowhere")
    for read in (count_frames, lambda p: read_frames(p, [0]), probe, read_image):
        with pytest.raises(ActionRecError, match=r"a\.avi"):
            read(path)
