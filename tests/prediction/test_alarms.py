"""False alarms on background, and the threshold that limits them."""

from functools import partial
from pathlib import Path

import pytest
import torch

from actionrec.prediction.alarms import Alarms, choose, with_threshold
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.output import Segmentation
from actionrec.prediction.pipeline import Scored, Windowing
from actionrec.prediction.reading import Length

WINDOWING = Windowing(seconds=1.0, hop=1.0)


def segmentation(threshold, none=None):
    return Segmentation(0.0, threshold, 0.7 * threshold, 0.0, none)


def clips(*probabilities, seconds=36.0):
    """A clip of two or three actions for each row of probabilities."""
    logits = [torch.tensor([each]).log() for each in probabilities]
    return [Scored(Path("a.mp4"), each, Length(10, seconds), False) for each in logits]


def chosen(background, most, temperature=1.0, none=None):
    return choose(background, Calibration(temperature), WINDOWING, partial(segmentation, none=none), most)


TEN = clips(*([0.5 + 0.04 * number, 0.5 - 0.04 * number] for number in range(1, 11)))  # in 0.1 hours


@pytest.mark.parametrize(("most", "number"), [(0, 0), (9, 0), (10, 1), (35, 3), (99, 9), (100, 10), (1000, 10)])
def test_the_threshold_lets_as_many_through_as_asked(most, number):
    found = chosen(TEN, most)
    assert found.number == number
    assert found.hours == pytest.approx(0.1)
    assert found.rate == pytest.approx(10 * number)
    accepted = [each for each in TEN if each.logits.exp().max() >= found.threshold]
    assert len(accepted) == number


def test_the_temperature_counts():
    hot = [each._replace(logits=3 * each.logits) for each in TEN]
    assert chosen(hot, 35, temperature=3.0).threshold == pytest.approx(chosen(TEN, 35).threshold)


def test_an_answer_of_background_is_no_alarm():
    background = clips([0.1, 0.2, 0.7], [0.3, 0.2, 0.5], [0.6, 0.3, 0.1])
    found = chosen(background, 40, none=2)
    assert found.number == 1
    assert found.threshold == pytest.approx(0.5)  # the largest probability of background does not matter
    assert chosen(background, 0, none=2).threshold > 0.6


def test_a_long_video_has_an_alarm_for_each_segment():
    rows = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.2, 0.8], [0.55, 0.45]])
    video = Scored(Path("long.mp4"), rows.log(), Length(150, 6.0), True)
    found = chosen([video], 600)
    assert found.number == 1
    assert 0.8 < found.threshold < 0.9
    assert chosen([video], 1800).number == 3


@pytest.mark.parametrize("last", [-1e-7, 0.0, 1e-7])
def test_probabilities_that_differ_by_rounding_are_equal(last):
    rows = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.2, 0.8], [0.55 + last, 0.45 - last]])
    video = Scored(Path("long.mp4"), rows.log(), Length(150, 6.0), True)
    assert chosen([video], 1800).number == 3


def test_networks_that_are_always_certain_keep_their_alarms():
    certain = [Scored(Path("a.mp4"), torch.tensor([[100.0, 0.0]]), Length(10, 36.0), False)]
    found = chosen(certain, 5)
    assert (found.threshold, found.rate) == (1.0, pytest.approx(100))


def test_the_bound_is_that_of_a_poisson_process():
    assert Alarms(0.5, 0, 1.0).upper == pytest.approx(2.996, abs=0.001)  # the rule of three
    assert Alarms(0.5, 3, 2.0).upper == pytest.approx(7.754 / 2, abs=0.001)


def test_the_record_says_what_the_threshold_costs():
    logits = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]]).log()
    found = with_threshold(
        Calibration(n=4, rate=0.05), logits, torch.tensor([0, 0, 2, 1]), 2, Alarms(0.7, 2, 0.5)
    )  # of the right answers, one of background and one wrong answer do not count
    assert (found.threshold, found.rate, found.false_alarms, found.hours, found.n) == (0.7, 0.5, 4.0, 0.5, 4)
    assert "false alarms" in found.method
