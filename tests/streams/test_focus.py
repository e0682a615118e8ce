"""The square around the motion."""

from functools import partial

import numpy as np
import pytest

from actionrec.flow import field
from actionrec.streams import Clip, DynamicImage, Flow, Frame, RGBDifference, create, focus
from actionrec.streams.transforms import WHOLE, View
from actionrec.system.errors import ActionRecError

HEIGHT, WIDTH = 240, 320


def fields(rows: slice, columns: slice, camera: int = 0, count: int = 4) -> np.ndarray:
    """Codes of fields whose content moves in one place, under a moving camera."""
    codes = np.full((count, 2, HEIGHT, WIDTH), field.ZERO + camera, np.uint8)
    codes[:, :, rows, columns] += 40
    return codes


@pytest.mark.parametrize("camera", [0, 30, -30])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (100, 40), (180, 260)])
def test_the_square_holds_what_moves_against_the_camera(top, left, camera):
    codes = fields(slice(top, top + 60), slice(left, left + 60), camera)
    codes[0, 0, top, left] = 7  # to find the place again
    seen = focus.on_flow(codes)
    assert seen.shape == (4, 2, 120, 120)  # the smallest
    assert (seen[0, 0] == 7).sum() == 1
    assert (seen == field.ZERO + camera + 40).sum() == (codes == field.ZERO + camera + 40).sum()


def test_the_square_grows_with_the_motion_to_the_shorter_side():
    sides = [focus.on_flow(fields(slice(120 - half, 120 + half), slice(160, 180))).shape[-1] for half in (20, 70, 120)]
    assert sides == [120, sides[1], 240]
    assert 120 < sides[1] < 240


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (WIDTH, HEIGHT), (61, 33), (7, 5)])
def test_where_nothing_moves_it_is_the_central_square(shape):
    codes = np.full((4, 2, *shape), field.ZERO, np.uint8)
    rows, columns = focus.square(np.zeros((8, 8)), shape)
    assert rows.stop - rows.start == columns.stop - columns.start == min(shape)
    assert abs((rows.start + rows.stop) / 2 - shape[0] / 2) <= 1
    assert abs((columns.start + columns.stop) / 2 - shape[1] / 2) <= 1
    assert focus.on_flow(codes).shape[-2:] == (min(shape), min(shape))


def test_few_pixels_of_noise_do_not_move_it():
    codes = fields(slice(100, 160), slice(40, 100))
    rng = np.random.default_rng(0)
    noisy = (codes + rng.integers(0, 3, codes.shape)).astype(np.uint8)
    assert focus.on_flow(noisy).shape[-1] == 120


def test_frames_are_focused_on_what_changes():
    frames = [np.full((HEIGHT, WIDTH, 3), 90, np.uint8) for _ in range(4)]
    for number, frame in enumerate(frames):
        frame[100:140, 200 + 5 * number : 240 + 5 * number] = 250
    seen = focus.on_frames(frames)
    assert {each.shape for each in seen} == {(120, 120, 3)}
    assert all((each == 250).sum() == 3 * 40 * 40 for each in seen)


@pytest.mark.parametrize("kind", [Frame, Flow, RGBDifference, DynamicImage, partial(Clip, frames=4, stride=1)])
def test_a_sample_is_of_the_square(kind):
    """The views, such as the mirrored one, are of the square."""
    rng = np.random.default_rng(0)
    if kind is Flow:
        pictures, square = fields(slice(100, 160), slice(40, 100)), focus.on_flow
        plain, focused = Flow("dis"), Flow("dis", focus="motion")
    else:
        plain, focused = kind(), kind(focus="motion")
        pictures = [rng.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(focused.window)]
        pictures = [np.where(np.arange(WIDTH)[:, None] < 90, each, 0).astype(np.uint8) for each in pictures]
        square = focus.on_frames
    of_plain = slice(2, 3) if kind is Frame else slice(None)  # the middle frame
    for view in (WHOLE, View(flip=True), View(0.1, 0.2, 0.7, 0.6, square=0.5)):
        of_square = plain.see(square(pictures)[of_plain], view, 32, None, rng)
        assert focused.see(pictures, view, 32, None, rng).equal(of_square)
        assert not plain.see(pictures[of_plain], view, 32, None, rng).equal(of_square)


def test_a_frame_is_the_middle_one_and_a_still_is_whole():
    rng = np.random.default_rng(0)
    clip = Frame(focus="motion")
    assert clip.window == 5
    still = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert clip.see([still], WHOLE, 32, None, rng).equal(Frame().see([still], WHOLE, 32, None, rng))


def test_settings_name_a_focus_where_there_is_one():
    """Those without one are as they were, so that checkpoints of earlier versions are told from no others."""
    for stream in (Frame(), Flow("dis"), RGBDifference(), DynamicImage(), Clip()):
        assert not {"focus", "size"} & set(stream.settings())
    assert create(Frame(focus="motion").settings()).focus == "motion"
    for kind in (partial(Flow, "dis"), RGBDifference, DynamicImage, Clip):
        again = create(kind(size=48, focus="motion").settings())
        assert (again.size, again.focus) == (48, "motion")


@pytest.mark.parametrize("kind", [partial(Flow, "dis"), RGBDifference, DynamicImage, partial(Clip, 6)])
def test_a_stream_may_have_a_size_of_its_own(kind):
    """The sample is that of a network with this size for all streams."""
    rng = np.random.default_rng(0)
    window = getattr(kind(), "window", None)
    pictures = rng.integers(0, 256, (window, HEIGHT, WIDTH, 3) if window else (4, 2, HEIGHT, WIDTH), np.uint8)
    assert kind(size=48).shape(32)[-2:] == (48, 48)
    assert kind(size=48).see(pictures, WHOLE, 32, None, rng).equal(kind().see(pictures, WHOLE, 48, None, rng))


def test_another_focus_gets_one_line():
    with pytest.raises(ActionRecError, match=r"data\.flow\.focus=person: use null or motion"):
        Flow("dis", focus="person")
