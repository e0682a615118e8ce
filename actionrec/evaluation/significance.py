"""Whether one network is better than another on the same samples, or was lucky."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from actionrec.errors import ActionRecError
from actionrec.evaluation.metrics import hits, interval, probabilities_of, resample, top_k
from actionrec.evaluation.scores import Scores


class Comparison(NamedTuple):
    """Top-1 of one network minus that of another.

    Args:
        difference: of the accuracies.
        low, high: its 95 % bootstrap interval, resampled by source video.
        only_first, only_second: samples that only one of them has right.
        p: of McNemar's exact test, two-sided.
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
        ActionRecError: they were not measured on the same samples.
    """
    second = match(first, second)
    labels, weights = first.labels.numpy(), resample(first.groups)
    probabilities = [probabilities_of(scores) for scores in (first, second)]
    right = [hits(each, labels).astype(bool) for each in probabilities]
    drawn = [top_k(each, labels, weights) for each in probabilities]
    low, high = interval(drawn[0] - drawn[1])
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    difference = float(right[0].mean() - right[1].mean())
    return Comparison(difference, low, high, only_first, only_second, mcnemar(only_first, only_second))


def mcnemar(only_first: int, only_second: int) -> float:
    """Probability of so uneven a split of the samples that only one of two has right, were both equally good.

    The exact two-sided test (McNemar, Psychometrika 1947); it takes samples for independent, which clips of one source
    video are not, so it is best read beside the bootstrap by source.
    """
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def match(first: Scores, second: Scores) -> Scores:
    """The second's rows in the order of the first's names.

    Raises:
        ActionRecError: a name is missing or doubled, or labels or actions differ.
    """
    if first.actions != second.actions:
        raise ActionRecError(f"scores of other actions: {', '.join(first.actions)} and {', '.join(second.actions)}")
    for one, other, which in ((first, second, "second"), (second, first, "first")):
        if missing := sorted(set(one.names) - set(other.names)):
            raise ActionRecError(f"{len(missing)} names are missing in the {which} scores (first: {missing[0]})")
        if len(set(one.names)) < len(one.names):
            doubled = next(name for name in one.names if one.names.count(name) > 1)
            raise ActionRecError(f"{doubled} occurs twice in scores; write them again with actionrec.evaluate")
    row_of = {name: row for row, name in enumerate(second.names)}
    rows = np.array([row_of[name] for name in first.names])
    if not (second.labels.numpy()[rows] == first.labels.numpy()).all():
        raise ActionRecError("the same names have other labels in the two score files; they are of other data")
    groups = [second.groups[row] for row in rows]
    return Scores(list(first.names), second.logits[rows], second.labels[rows], second.actions, groups, second.protocol)
