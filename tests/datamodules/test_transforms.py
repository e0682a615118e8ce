import cv2
import numpy as np
import pytest

from actionrec.datamodules.transforms import (
    CLIP_PRESETS,
    NONE,
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
from actionrec.flow.field import mirror, quantize, stack


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image(rng):
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 60))


@pytest.fixture
def codes(rng):
    """Four smooth fields (4, 2, 60, 80) of a few pixels."""
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
    assert jitter_colours(image, 0, rng) is image


def test_a_flipped_stack_is_the_stack_of_the_mirrored_field(codes):
    flipped = view_flow(codes, WHOLE._replace(flip=True), 60, "xy")
    expected = view_flow(mirror(codes), WHOLE, 60, "xy")
    assert np.abs(flipped.astype(int) - expected).max() <= 2  # resampled before one, after the other


def test_frame_and_flow_share_the_geometry():
    """A bright square and the motion of that square end up in the same place."""
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
    """A field that points away from the centre still does when it is turned with the image."""
    y, x = np.mgrid[-30:31, -30:31].astype(np.float32)
    codes = quantize(np.stack([x, y], axis=-1)[None] / 5, 20)
    turned = view_flow(codes, WHOLE._replace(degrees=30.0), 61, "xy")
    assert np.abs(turned.astype(int) - stack(codes, "xy"))[:, 15:-15, 15:-15].max() <= 3


def test_jitter_changes_brightness_within_its_bounds(rng):
    gray = np.full((8, 8, 3), 100, np.uint8)
    means = [jitter_colours(gray, 0.2, rng).mean() for _ in range(200)]
    assert 78 <= min(means) < 90 < 110 < max(means) <= 122


def test_small_things_survive_shrinking(rng):
    board = np.indices((224, 224)).sum(axis=0) % 2 * 255
    seen = view_frame(np.repeat(board[..., None], 3, axis=-1).astype(np.uint8), WHOLE, 56)
    assert np.abs(seen.astype(int) - 127).max() <= 2  # averaged; picking single pixels would give 0 or 255


def test_crops_reach_the_scale_they_say(rng):
    areas = [view.width * view.height for view in (draw_view(Augmentation(scale=(0.3, 1)), rng) for _ in range(500))]
    assert 0.25 < min(areas) < 0.4
    assert max(areas) > 0.9


@pytest.mark.parametrize("crops", [3, 5, 10])
def test_views_of_a_test_are_inside_the_picture_and_differ(crops):
    views = eval_views(crops)
    assert len(set(views)) == crops
    for view in views:
        assert 0 <= view.left <= view.left + view.width <= 1
        assert 0 <= view.top <= view.top + view.height <= 1
