import cv2
import numpy as np
import pytest

from actionrec.flow.estimators import create
from actionrec.flow.field import dequantize, magnitude, mirror, negate, quantize, rotate, stack

BOUND = 20.0


def codes_of(*vectors: tuple[float, float]) -> np.ndarray:
    """Codes (2, 1, N) of a field of one row."""
    return quantize(np.array([vectors], np.float32), BOUND)


def test_codes_follow_the_contract():
    codes = codes_of((-100, 0), (-20, 1), (-1, 20), (0, 100), (1, -1))
    assert codes.dtype == np.uint8
    assert codes.tolist() == [[[0, 0, 121, 128, 134]], [[128, 134, 255, 255, 121]]]


def test_quantising_loses_at_most_a_step():
    field = np.random.default_rng(0).uniform(-BOUND, BOUND, (20, 30, 2)).astype(np.float32)
    restored = dequantize(quantize(field, BOUND), BOUND)
    assert restored.shape == field.shape
    assert np.abs(restored - field).max() < 2 * BOUND / 255 + 1e-4
    assert (dequantize(codes_of((0, 0)), BOUND) == 0).all()


def test_negation_is_that_of_the_motion_and_keeps_rest():
    vectors = [(-20, 1), (-7.3, 7.3), (0, 0), (20, -1)]
    opposite = [(-x, -y) for x, y in vectors]
    assert (negate(codes_of(*vectors)) == codes_of(*opposite)).all()
    rest = np.full((2, 3, 4), 128, np.uint8)
    assert (mirror(rest) == 128).all()


def test_mirroring_a_clip_mirrors_the_field_and_negates_x():
    """The estimated flow of two mirrored frames is the mirrored flow of the two frames."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (140, 200), np.uint8), (0, 0), 2)
    first, second = texture[20:100, 20:140], texture[18:98, 17:137]  # the scene moves by (3, 2)
    estimator = create("dis", {"preset": "medium"})
    [there] = estimator.fields([first, second])
    [back] = estimator.fields([first[:, ::-1], second[:, ::-1]])
    there, back = quantize(there, BOUND), quantize(back, BOUND)
    middle = np.s_[10:-10, 10:-10]
    assert np.median(np.abs(mirror(there).astype(int) - back)[:, 10:-10, 10:-10]) <= 1
    assert np.median(dequantize(back, BOUND)[middle][..., 0]) == pytest.approx(-3, abs=0.3)
    assert np.median(dequantize(back, BOUND)[middle][..., 1]) == pytest.approx(2, abs=0.3)


def test_turning_a_quarter_moves_right_to_up():
    turned = dequantize(rotate(codes_of((5, 0)), 90), BOUND)
    assert turned == pytest.approx(np.array([[[0, -5]]]), abs=0.2)  # y points down


def test_magnitude_is_the_length():
    lengths = magnitude(codes_of((3, 4), (0, 0), (30, 40)))
    assert lengths.tolist() == [[pytest.approx(5 / 20 * 255, abs=2), 0, 255]]


def test_a_stack_interleaves_x_and_y():
    fields = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    channels = stack(fields, "xy")
    assert channels.shape == (8, 2, 3)
    for field in range(4):
        assert (channels[2 * field] == fields[field, 0]).all()
        assert (channels[2 * field + 1] == fields[field, 1]).all()
    assert stack(fields, "magnitude").shape == (4, 2, 3)
