"""False alarms: actions that a network finds in videos of none of the actions, and the threshold that limits them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2
from torch import Tensor

from actionrec.prediction import output
from actionrec.prediction.calibration import METHOD, Calibration, right_answers
from actionrec.prediction.output import Segmentation
from actionrec.prediction.pipeline import Scored, Windowing

ON_BACKGROUND = f"{METHOD}, threshold by false alarms on background"
CANDIDATES = 200  # largest number of thresholds that are tried
DIGITS = 6  # decimals by which probabilities are told apart
CONFIDENCE = 0.95  # of the upper bound


class Alarms(NamedTuple):
    """The false alarms at a threshold.

    Args:
        threshold: the least probability of an answer.
        number: number of segments of long videos, and of clips with an answer.
        hours: duration of the background videos.
    """

    threshold: float
    number: int
    hours: float

    @property
    def rate(self) -> float:
        """False alarms an hour."""
        return self.number / self.hours

    @property
    def upper(self) -> float:
        """Upper bound of the rate that is expected elsewhere, one-sided, of a Poisson process (Garwood, 1936)."""
        return float(chi2.ppf(CONFIDENCE, 2 * (self.number + 1))) / 2 / self.hours


def choose(
    background: Sequence[Scored],
    calibration: Calibration,
    windowing: Windowing,
    segmentation: Callable[[float], Segmentation],
    most: float,
) -> Alarms:
    """Choose the smallest threshold from which on the false alarms do not exceed a rate.

    If no threshold has so few, as with probabilities of 1, the largest one is returned.

    Args:
        background: scores of videos of none of the actions.
        calibration: with the temperature; its threshold does not matter.
        windowing: how the videos were cut.
        segmentation: how windows become segments at a threshold.
        most: false alarms an hour.
    """
    # Where segments merge, a lower threshold may have fewer of them, so that the search goes from the largest one down.
    hours = sum(each.length.duration for each in background if each.length) / 3600
    probabilities = np.concatenate([calibration.probabilities(each.logits).max(axis=1) for each in background])
    # Equal probabilities differ in their last digits from processor to processor.
    distinct = np.unique(probabilities.round(DIGITS))
    tried = np.unique(np.quantile(distinct, np.linspace(0, 1, CANDIDATES), method="nearest"))
    # Between two probabilities, so that a difference of rounding does not matter.
    between = (tried + np.append(tried[1:], 1.0)) / 2
    candidates = [max(float(probabilities.min()) - 1e-9, 0.0), *between]  # smoothing rounds, too
    chosen: Alarms | None = None
    for threshold in sorted(candidates, reverse=True):
        found = Alarms(float(threshold), _count(background, calibration, windowing, segmentation, threshold), hours)
        if chosen is not None and found.number > most * hours + 1e-9:
            break
        chosen = found
    assert chosen
    return chosen


def with_threshold(made: Calibration, logits: Tensor, labels: Tensor, none: int | None, found: Alarms) -> Calibration:
    """A calibration with the threshold that was chosen on background, and the share of right answers that it rejects.

    Args:
        made: with the temperature.
        logits, labels, none: see `calibrate`.
        found: the false alarms at the threshold.
    """
    right = right_answers(logits, labels, made.temperature, none)
    rejected = float((right < found.threshold).double().mean())
    return made._replace(
        threshold=found.threshold, method=ON_BACKGROUND, rate=rejected, false_alarms=found.rate, hours=found.hours
    )


def _count(
    background: Sequence[Scored],
    calibration: Calibration,
    windowing: Windowing,
    segmentation: Callable[[float], Segmentation],
    threshold: float,
) -> int:
    made, limits = calibration._replace(threshold=threshold), segmentation(threshold)
    courses = [output.course(each, made, windowing, limits) for each in background]
    return sum(not each.rejected if each.segments is None else len(each.segments) for each in courses)
