from pathlib import Path

import cv2
import numpy as np
import pytest

from actionrec.errors import ActionRecError
from actionrec.video import count_frames, iter_frames, iter_gray, read_frames, read_image
from tests.conftest import write_video

REAL_CLIPS = Path(__file__).parents[2] / "shared" / "data" / "hmdb51_clips"


def gray_levels(path: Path, levels: list[int]) -> Path:
    return write_video(path, [np.full((48, 64, 3), level, np.uint8) for level in levels])


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


@pytest.mark.skipif(not REAL_CLIPS.is_dir(), reason="the real clips are not beside the checkout")
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
