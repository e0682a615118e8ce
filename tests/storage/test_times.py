"""Times of frames, and the rotation that phones write beside them."""

import cv2
import numpy as np
import pytest

from actionrec.storage.video import iter_grabbed
from tests.conftest import attempt, noise_video
from tests.storage import mp4

FRAMES = [np.full((48, 64, 3), (gray, 0, 255 - gray), np.uint8) for gray in range(0, 240, 40)]


def times(path):
    return [grabbed.time for grabbed in iter_grabbed(path)]


def test_times_follow_a_constant_rate(tmp_path):
    assert times(noise_video(tmp_path / "a.avi", 6)) == pytest.approx([n / 25 for n in range(6)])


def test_times_are_those_of_the_file(tmp_path):
    path = mp4.write(tmp_path / "a.mp4", FRAMES)
    mp4.change(path, b"stts", mp4.durations((3, 1), (3, 4)))
    assert times(path) == pytest.approx([0, 0.04, 0.08, 0.12, 0.28, 0.44])


def test_times_grow_in_a_file_without_timestamps(tmp_path, monkeypatch):
    class Capture:
        def __init__(self, *arguments):
            self.real = real(*arguments)

        def get(self, key):
            return 0.0 if key == cv2.CAP_PROP_POS_MSEC else self.real.get(key)

        def __getattr__(self, name):
            return getattr(self.real, name)

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    assert times(noise_video(tmp_path / "a.avi", 4)) == pytest.approx([0, 0.04, 0.08, 0.12])


def test_images_are_those_of_the_frames(tmp_path):
    path = mp4.write(tmp_path / "a.mp4", FRAMES)
    blues = [float(grabbed.image()[..., 0].mean()) for index, grabbed in enumerate(iter_grabbed(path)) if index % 2]
    assert blues == pytest.approx([40, 120, 200], abs=6)


def test_a_rotated_video_is_upright(tmp_path):
    path = mp4.write(tmp_path / "a.mp4", FRAMES[:1])
    [upright] = [grabbed.image() for grabbed in iter_grabbed(path)]
    mp4.change(path, b"tkhd", mp4.rotated)
    [seen] = [grabbed.image() for grabbed in iter_grabbed(path)]
    assert seen.shape == (64, 48, 3)
    np.testing.assert_array_equal(seen, cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "text.mp4").write_text("text")
    assert "cannot decode the video" in attempt(times, tmp_path / "text.mp4")[1]
