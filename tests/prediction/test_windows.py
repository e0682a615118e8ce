"""Borders of windows, smoothing and hysteresis, with numbers done by hand."""

from itertools import islice

import numpy as np
import pytest

from actionrec.prediction import windows
from actionrec.prediction.output import odd
from actionrec.prediction.windows import Segment, Window
from actionrec.storage.frames import frame_index


@pytest.mark.parametrize(
    ("duration", "number"),
    [(1.9, 0), (2.0, 1), (2.4, 1), (2.5, 2), (2.99, 2), (3.0, 3), (10.0, 17), (7200.0, 14397)],
)
def test_windows_lie_inside_the_video(duration, number):
    assert windows.count(duration, 2.0, 0.5) == number


def test_windows_may_leave_gaps():
    assert windows.count(10.0, 1.0, 4.0) == 3
    assert list(islice(windows.endless(1.0, 4.0), 3)) == [Window(0, 1), Window(4, 5), Window(8, 9)]


@pytest.mark.parametrize("rate", [10.0, 25.0, 30.0, 29.97])
@pytest.mark.parametrize("n_frames", [1, 2, 49, 50, 51])
@pytest.mark.parametrize("fractions", [(0.0,), (0.5,), (1.0,), (0.1, 0.3, 0.5, 0.7, 0.9)])
def test_instants_are_those_of_a_clip_of_its_own(rate, n_frames, fractions):
    """The frame on display at an instant is the one that the clip of these frames would have there."""
    window = Window(4.0, 4.0 + n_frames / rate)
    shown = [
        max(frame for frame in range(n_frames) if 4.0 + frame / rate <= instant + windows.TOLERANCE)
        for instant in windows.instants(window, fractions, 1 / rate)
    ]
    assert shown == [frame_index(fraction, n_frames) for fraction in fractions]


def test_spans_cover_the_video_around_the_middles():
    # Windows 0…2, 0.5…2.5 and 1…3 have their middles at 1, 1.5 and 2.
    assert windows.spans(3, 2.0, 0.5, 3.2) == [Window(0.0, 1.25), Window(1.25, 1.75), Window(1.75, 3.2)]
    assert windows.spans(1, 2.0, 0.5, 1.5) == [Window(0.0, 1.5)]


def test_smoothing_is_a_centred_mean():
    column = np.array([0.0, 3.0, 6.0, 0.0, 0.0])
    smoothed = windows.smooth(np.stack([column, -column], axis=1), 3)
    np.testing.assert_allclose(smoothed[:, 0], [1.5, 3.0, 3.0, 2.0, 0.0])
    np.testing.assert_allclose(smoothed[:, 1], -smoothed[:, 0])
    np.testing.assert_allclose(windows.smooth(smoothed, 1), smoothed)


@pytest.mark.parametrize(("width", "number"), [(0.0, 1), (1.0, 1), (2.9, 3), (3.0, 3), (5.2, 5)])
def test_the_width_of_smoothing_is_odd(width, number):
    assert odd(width) == number


def rows(*first: float) -> np.ndarray:
    """Probabilities of two actions and of a third one, which is never likely."""
    return np.array([[value, 0.9 - value, 0.1] for value in first])


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ((0.45, 0.45), [None, None]),  # neither reaches `enter`
        ((0.45, 0.6, 0.45, 0.41), [None, 0, 0, 0]),  # between the thresholds the action lasts
        ((0.6, 0.39), [0, None]),  # below `leave`
        ((0.6, 0.1), [0, 1]),  # the other one is at 0.8
        ((0.6, 0.5, 0.6), [0, 0, 0]),
    ],
)
def test_an_action_enters_above_one_threshold_and_leaves_below_another(first, expected):
    assert windows.hysteresis(rows(*first), 0.6, 0.4) == expected


def test_another_action_takes_over_without_a_gap():
    probabilities = np.array([[0.6, 0.3], [0.42, 0.58], [0.3, 0.7]])
    assert windows.hysteresis(probabilities, 0.55, 0.4) == [0, 1, 1]


def test_with_thresholds_of_zero_every_window_has_its_likeliest_action():
    assert windows.hysteresis(rows(0.5, 0.2, 0.46), 0.0, 0.0) == [0, 1, 0]


def test_segments_have_borders_in_seconds_and_mean_probabilities():
    parts = [Window(0.0, 1.0), Window(1.0, 1.5), Window(1.5, 2.0), Window(2.0, 3.25)]
    found = windows.segments(rows(0.7, 0.5, 0.2, 0.1), parts, 0.6, 0.4)
    assert [segment[:3] for segment in found] == [(0.0, 1.5, 0), (1.5, 3.25, 1)]
    assert [segment.probability for segment in found] == pytest.approx([0.6, 0.75])
    assert windows.segments(rows(0.7, 0.5, 0.2, 0.1), parts, 0.6, 0.4, least=1.6)[0].label == 1
    assert windows.segments(rows(0.45, 0.45), parts[:2], 0.6, 0.4) == []
    assert windows.segments(rows(0.8), [Window(0.0, 9.0)], 0.6, 0.4) == [Segment(0.0, 9.0, 0, pytest.approx(0.8))]


@pytest.mark.parametrize("width", [1, 3, 5])
@pytest.mark.parametrize("least", [0.0, 1.0])
@pytest.mark.parametrize("number", [1, 2, 30])
def test_windows_one_by_one_have_the_segments_of_all_at_once(width, least, number):
    probabilities = np.random.default_rng(number).dirichlet([0.7] * 3, size=number)
    seconds, hop = 2.0, 0.5
    duration = (number - 1) * hop + seconds + 0.3
    parts = windows.spans(number, seconds, hop, duration)
    expected = windows.segments(windows.smooth(probabilities, width), parts, 0.5, 0.35, least)
    ongoing = windows.Ongoing(seconds, hop, width, 0.5, 0.35, least)
    found = [segment for window, row in enumerate(probabilities) for segment in ongoing.push(window, row)]
    found += ongoing.finish(duration)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("none", [0, 1])
def test_background_ends_an_action_and_is_no_segment(none):
    probabilities = np.repeat([[0.8, 0.2], [0.2, 0.8], [0.8, 0.2]], 4, axis=0)
    parts = windows.spans(12, 1.0, 0.5, 6.5)
    expected = [each for each in windows.segments(probabilities, parts, 0.6, 0.1) if each.label != none]
    assert len(expected) == 1 + none
    assert windows.segments(probabilities, parts, 0.6, 0.1, none=none) == expected
    ongoing = windows.Ongoing(1.0, 0.5, 1, 0.6, 0.1, none=none)
    found = [segment for window, row in enumerate(probabilities) for segment in ongoing.push(window, row)]
    assert ongoing.current[0] == (0 if none else None)
    np.testing.assert_allclose([*found, *ongoing.finish(6.5)], expected)


def test_a_segment_ends_when_its_end_is_known():
    ongoing = windows.Ongoing(1.0, 0.5, 3, 0.6, 0.6)
    found = [len(ongoing.push(window, row)) for window, row in enumerate(rows(0.7, 0.7, 0.7, 0.1, 0.1, 0.1))]
    assert found == [0, 0, 0, 1, 0, 0]  # with the window after the last one, as the average is over three
    assert ongoing.current == (1, pytest.approx(0.8))


def test_windows_that_are_left_out_do_not_cut_an_action():
    ongoing = windows.Ongoing(1.0, 0.5, 1, 0.6, 0.4)
    for window in (0, 1, 5, 6):
        assert ongoing.push(window, rows(0.8)[0]) == []
    [segment] = ongoing.finish(4.2)
    assert segment == Segment(0.0, 4.2, 0, pytest.approx(0.8))
