"""Comparison of two networks on the same samples: interval of the difference, and McNemar's test."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm

from actionrec.evaluation.metrics import effective_size, hits, probabilities_of, share_variance, sources
from actionrec.evaluation.scores import Scores
from actionrec.system.errors import ActionRecError


class Comparison(NamedTuple):
    """Top-1 accuracy of a first network minus that of a second network.

    Args:
        difference: of the accuracies.
        low, high: 95 % interval of the difference by source video, see `difference_interval`.
        only_first, only_second: number of samples that only the first (second) network has right.
        p: two-sided p-value of McNemar's exact test.
    """

    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float


def compare(first: Scores, second: Scores) -> Comparison:
    """Compare two networks on the same samples, matched by name.

    Raises:
        ActionRecError: the networks were not measured on the same samples.
    """
    second = match(first, second)
    right = [hits(probabilities_of(scores), scores.labels.numpy()) for scores in (first, second)]
    gains, losses = (one * (1 - other) for one, other in (right, right[::-1]))
    sizes, source_of = sources(first.groups)
    low, high = difference_interval(np.bincount(source_of, gains), np.bincount(source_of, losses), sizes)
    only_first, only_second = int(gains.sum()), int(losses.sum())
    difference = float(right[0].mean() - right[1].mean())
    return Comparison(difference, float(low), float(high), only_first, only_second, mcnemar(only_first, only_second))


def difference_interval(gains: np.ndarray, losses: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval (...), (...) of the difference of two accuracies on the same samples; never of width zero.

    The interval is Tango's score interval of paired shares (Statistics in Medicine 1998) for the effective sample
    size, see `metrics.effective_size`.

    Args:
        gains: number of samples of each source video that only the first network has right (..., G).
        losses: number of samples of each source video that only the second network has right (..., G).
        sizes: number of samples of each source video (G,).
    """
    samples = sizes.sum()
    first, second = gains.sum(-1) / samples, losses.sum(-1) / samples
    one = first + second - np.square(first - second)
    size = effective_size(share_variance(gains - losses, sizes), one, sizes)
    return -_upper(second, first, size), _upper(first, second, size)


def _upper(first: np.ndarray, second: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The largest difference that Tango's score test does not reject, by bisection."""
    low, high = first - second, np.ones(np.shape(first))
    quantile = norm.ppf(0.975)
    for _ in range(50):
        middle = (low + high) / 2
        # Maximum-likelihood estimate, under that difference, of the share that only the second network has right.
        linear = (2 - first + second) * middle - first - second
        root = np.sqrt(np.maximum(np.square(linear) + 8 * second * middle * (1 - middle), 0))
        deviation = np.maximum((root - linear) / 2 + middle * (1 - middle), 0)
        kept = middle - (first - second) <= quantile * np.sqrt(deviation / size)
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    return (low + high) / 2


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test (Psychometrika 1947).

    The null hypothesis is that two networks are equally good. The test assumes independent samples. Clips of one source
    video are not independent, so read the p-value beside the interval by source video.

    Args:
        only_first, only_second: number of samples that only the first (second) network has right.
    """
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def match(first: Scores, second: Scores) -> Scores:
    """The second scores with their rows in the order of the first scores' names.

    Raises:
        ActionRecError: a name is missing or doubled, or labels or actions differ.
    """
    if first.actions != second.actions:
        raise ActionRecError(
            f"scores of different actions: {', '.join(first.actions)} and {', '.join(second.actions)}; compare runs of "
            "the same data.actions"
        )
    for one, other, which in ((first, second, "second"), (second, first, "first")):
        if missing := sorted(set(one.names) - set(other.names)):
            raise ActionRecError(
                f"{len(missing)} names are missing in the {which} scores (first: {missing[0]}); compare runs that were "
                "measured on the same samples"
            )
        if len(set(one.names)) < len(one.names):
            doubled = next(name for name in one.names if one.names.count(name) > 1)
            raise ActionRecError(f"{doubled} occurs twice in scores; write them again with actionrec evaluate")
    row_of = {name: row for row, name in enumerate(second.names)}
    rows = np.array([row_of[name] for name in first.names])
    if not (second.labels.numpy()[rows] == first.labels.numpy()).all():
        raise ActionRecError("names have different labels in the two score files; compare runs on the same data")
    groups = [second.groups[row] for row in rows]
    return Scores(list(first.names), second.logits[rows], second.labels[rows], second.actions, groups, second.protocol)
