import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actionrec.flow.estimators import create
from actionrec.flow.field import dequantize, mirror, quantize, stack
from actionrec.streams.transforms import (
    CLIP_PRESETS,
    NONE,
    REGIONS,
    STILL_PRESETS,
    WHOLE,
    Augmentation,
    View,
    draw_view,
    eval_views,
    jitter_colours,
    view_flow,
    view_frame,
)
from actionrec.system.errors import ActionRecError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image(rng):
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 60))


@pytest.fixture
def codes(rng):
    """Four smooth fields (4, 2, 60, 80) with displacements of a few pixels."""
    smooth = [cv2.resize(rng.normal(0, 4, (4, 5, 2)).astype(np.float32), (80, 60)) for _ in range(4)]
    return quantize(np.stack(smooth), 20)


@pytest.mark.parametrize("preset", [*STILL_PRESETS.values(), *CLIP_PRESETS.values()])
def test_every_view_is_inside_and_of_the_asked_size(preset, image, codes, rng):
    for _ in range(50):
        view = draw_view(preset, rng)
        assert 0 <= view.left <= view.left + view.width <= 1 + 1e-9
        assert 0 <= view.top <= view.top + view.height <= 1 + 1e-9
    assert view_frame(image, view, 32).shape == (32, 32, 3)
    for representation, channels in (("xy", 8), ("magnitude", 4)):
        seen = view_flow(codes, view, 32, representation)
        assert seen.shape == (channels, 32, 32)
        assert seen.dtype == np.uint8


def test_no_augmentation_is_the_whole_image(rng, image):
    assert draw_view(NONE, rng) == WHOLE
    assert jitter_colours([image], 0, rng)[0] is image


def test_a_flipped_stack_is_the_stack_of_the_mirrored_field(codes):
    flipped = view_flow(codes, WHOLE._replace(flip=True), 60, "xy")
    expected = view_flow(mirror(codes), WHOLE, 60, "xy")
    assert np.abs(flipped.astype(int) - expected).max() <= 2  # resampled before one, after the other


def test_frame_and_flow_share_the_geometry():
    """A bright square and its motion have the same position in the frame and in the flow."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:30, 40:56] = 255
    motion = np.zeros((4, 60, 80, 2), np.float32)
    motion[:, 20:30, 40:56] = 10
    codes = quantize(motion, 20)
    for view in (View(0.1, 0.2, 0.7, 0.6, flip=True), View(0.2, 0.1, 0.8, 0.8, flip=False, degrees=12)):
        bright = view_frame(image, view, 64).mean(axis=-1) > 127
        moves = np.abs(view_flow(codes, view, 64, "xy")[1].astype(int) - 128) > 30
        assert bright.sum() > 20
        assert (bright ^ moves).sum() <= 0.15 * bright.sum()


def test_turning_turns_the_motion_too():
    """A field that points away from the centre still does so after a rotation."""
    y, x = np.mgrid[-30:31, -30:31].astype(np.float32)
    codes = quantize(np.stack([x, y], axis=-1)[None] / 5, 20)
    turned = view_flow(codes, WHOLE._replace(degrees=30.0), 61, "xy")
    assert np.abs(turned.astype(int) - stack(codes, "xy"))[:, 15:-15, 15:-15].max() <= 3


def test_a_flipped_and_turned_motion_is_first_turned_then_mirrored():
    """As for frames: a counter-clockwise rotation turns motion to the right upwards; the flip then mirrors it."""
    codes = quantize(np.full((1, 60, 80, 2), (10, 0), np.float32), 20)
    seen = view_flow(codes, WHOLE._replace(flip=True, degrees=30.0), 64, "xy")
    assert dequantize(seen, 20)[32, 32] == pytest.approx((-10 * np.cos(np.pi / 6), -10 * np.sin(np.pi / 6)), abs=0.2)


@given(
    crop=st.tuples(*[st.floats(0.6, 1)] * 2, *[st.floats(0, 1)] * 2),
    flip=st.booleans(),
    degrees=st.floats(-30, 30),
    motion=st.tuples(*[st.floats(-4, 4)] * 2),
    grows=st.floats(0.97, 1.03),
)
@example(crop=(1, 1, 0, 0), flip=True, degrees=20.0, motion=(4, 0), grows=1.0)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_viewed_flow_is_the_flow_of_the_viewed_frames(crop, flip, degrees, motion, grows):
    """Compared with estimated flow of a texture that moves and grows; lengths stay in the clip's pixels."""
    width, height, left, top = crop
    view = View(left * (1 - width), top * (1 - height), width, height, flip, degrees)
    noise = np.random.default_rng(0).integers(0, 256, (96, 128), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    matrix = cv2.getRotationMatrix2D((63.5, 47.5), 0, grows)
    matrix[:, 2] += motion
    y, x = np.mgrid[:96, :128]
    field = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T - np.stack([x, y], axis=-1)
    moved = cv2.warpAffine(texture, matrix, (128, 96), borderMode=cv2.BORDER_REFLECT_101)

    size = 80
    frames = [view_frame(np.repeat(each[..., None], 3, axis=-1), view, size)[..., 0] for each in (texture, moved)]
    [estimated] = create("farneback", {}).fields(frames)
    estimated = estimated * (width * 128 / size, height * 96 / size)
    seen = dequantize(view_flow(quantize(field[None], 20), view, size, "xy"), 20)
    apart = np.linalg.norm(estimated - seen, axis=-1)[24:-24, 24:-24]
    assert np.median(apart) < 0.5


def test_jitter_changes_brightness_within_its_bounds(rng):
    gray = np.full((8, 8, 3), 100, np.uint8)
    means = [jitter_colours([gray], 0.2, rng)[0].mean() for _ in range(200)]
    assert 78 <= min(means) < 90 < 110 < max(means) <= 122


def test_small_things_survive_shrinking(rng):
    board = np.indices((224, 224)).sum(axis=0) % 2 * 255
    seen = view_frame(np.repeat(board[..., None], 3, axis=-1).astype(np.uint8), WHOLE, 56)
    assert np.abs(seen.astype(int) - 127).max() <= 2  # averaged; picking single pixels would give 0 or 255


def test_crops_reach_the_scale_they_say(rng):
    areas = [view.width * view.height for view in (draw_view(Augmentation(scale=(0.3, 1)), rng) for _ in range(500))]
    assert 0.25 < min(areas) < 0.4
    assert max(areas) > 0.9


@pytest.mark.parametrize("crops", [2, 3, 5, 10])
def test_views_of_a_test_are_inside_the_picture_and_differ(crops):
    views = eval_views(crops)
    assert len(set(views)) == crops
    for view in views:
        assert 0 <= view.left <= view.left + view.width <= 1
        assert 0 <= view.top <= view.top + view.height <= 1


@pytest.mark.parametrize("region", REGIONS)
def test_two_views_are_the_picture_and_its_mirror_image(rng, region):
    picture = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    plain, mirrored = (view_frame(picture, view, 24) for view in eval_views(2, region))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert np.array_equal(plain, view_frame(picture, eval_views(1, region)[0], 24))


def test_square_views_keep_the_proportions(rng):
    """A disc stays a disc in every view of `square`, and the whole image squeezes it."""
    image = cv2.circle(np.zeros((90, 160, 3), np.uint8), (80, 45), 20, (255,) * 3, -1)
    upright = np.ascontiguousarray(image.transpose(1, 0, 2))

    def sides(picture, view):
        rows, columns = np.nonzero(view_frame(picture, view, 90).mean(axis=-1) > 127)
        return np.ptp(rows) + 1, np.ptp(columns) + 1

    height, width = sides(image, WHOLE)
    assert height > 1.5 * width
    for picture in (image, upright):
        for view in (*eval_views(1, "square"), *eval_views(10, "square"), draw_view(NONE, rng, "square")):
            height, width = sides(picture, view._replace(square=0.5))
            assert abs(height - width) <= 2


def test_square_views_lie_along_the_longer_side(rng):
    wide = np.zeros((90, 160, 3), np.uint8) + np.arange(160, dtype=np.uint8)[:, None]
    [central] = eval_views(1, "square")
    assert abs(view_frame(wide, central, 90).mean() - 79.5) < 1
    seen = [view_frame(wide, view, 90) for view in eval_views(3, "square")]
    assert [(each.min(), each.max()) for each in seen] == [(0, 89), (35, 124), (70, 159)]
    places = [draw_view(NONE, rng, "square").square for _ in range(200)]
    assert min(places) < 0.1 < 0.9 < max(places)
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    assert [view_frame(tall, view, 90).min() for view in eval_views(3, "square")] == [0, 35, 70]


def test_the_square_of_a_flow_is_that_of_its_frames(codes):
    middle = view_flow(codes[..., 10:70], WHOLE, 60, "xy")
    np.testing.assert_array_equal(view_flow(codes, eval_views(1, "square")[0], 60, "xy"), middle)


def test_an_unknown_region_is_an_error():
    with pytest.raises(ActionRecError, match=r"data\.region=round: use one of whole, square"):
        eval_views(1, "round")
