"""All readers decode truncated or flipped clips and pictures to the same result, or raise an error of one line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionrec.storage.video import count_frames, iter_frames, iter_gray, probe, read_frames, read_image
from tests.conftest import noise_video
from tests.properties.damage import attempt, damaged, examples, write

FRAMES = 8


@pytest.fixture(scope="module")
def avi(tmp_path_factory) -> bytes:
    return noise_video(tmp_path_factory.mktemp("media") / "a.avi", FRAMES).read_bytes()


@pytest.fixture(scope="module")
def large() -> bytes:
    """A photo large enough to be decoded at a reduced size."""
    noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert len(data) > 300_000
    return data


@examples(60)
@given(data=st.data())
def test_damaged_clips_are_read_alike_or_refused(tmp_path, avi, data):
    path = write(tmp_path / "a.avi", data.draw(damaged(avi)))
    count = attempt(lambda: count_frames(path))
    seen = attempt(lambda: list(iter_frames(path)))
    gray = attempt(lambda: list(iter_gray(path)))
    attempt(lambda: probe(path))
    # Where the first packets are broken, one that can be grabbed need not give a picture.
    assert seen is None or (count is not None and 0 < len(seen) <= count <= FRAMES)
    assert (seen is None) == (gray is None)
    if seen:
        assert len(gray or []) == len(seen)
        assert all(frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 for frame in seen)
        [last] = attempt(lambda: read_frames(path, [len(seen) - 1])) or [None]
        assert last is None or np.array_equal(last, seen[-1])
    attempt(lambda: read_frames(path, [FRAMES - 1]))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
@examples(30)
@given(data=st.data())
def test_damaged_pictures_are_pictures_or_refused(tmp_path, suffix, data):
    picture = cv2.resize(np.random.default_rng(1).integers(0, 256, (4, 5, 3), np.uint8), (40, 30))
    path = write(tmp_path / f"a{suffix}", data.draw(damaged(cv2.imencode(suffix, picture)[1].tobytes())))
    check(path, None)


@examples(30)
@given(data=st.data())
def test_damaged_photos_are_pictures_or_refused(tmp_path, large, data):
    check(write(tmp_path / "a.jpg", data.draw(damaged(large))), data.draw(st.sampled_from([None, 16, 112, 300])))


def check(path: Path, enough: int | None) -> None:
    found = attempt(lambda: read_image(path, enough))
    if found is not None:
        assert found.dtype == np.uint8
        assert found.ndim == 3
        assert found.shape[2] == 3
        assert found.size > 0
