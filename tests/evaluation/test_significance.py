import numpy as np
import pytest
import torch

from actionrec.evaluation.scores import Scores
from actionrec.evaluation.significance import compare, difference_interval, match, mcnemar
from actionrec.system.errors import ActionRecError
from benchmarks.coverage import CORRELATIONS, DESIGNS, DISAGREEMENTS, coverage, of_differences


def scores_of(right: list[bool], names: list[str] | None = None) -> Scores:
    """Two actions; every label is the first, and a network is right where its first logit is the larger."""
    names = names or [f"clip{i}" for i in range(len(right))]
    logits = torch.tensor([[1.0, 0.0] if each else [0.0, 1.0] for each in right])
    return Scores(names, logits, torch.zeros(len(right), dtype=torch.long), ("x", "y"), [name[:5] for name in names])


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 0.021484375), (0, 6, 0.03125), (6, 16, 0.0524787902832)],  # 2 · P(X ≤ min)
)
def test_mcnemar_is_the_binomial_test(only_first, only_second, p):
    assert mcnemar(only_first, only_second) == pytest.approx(p)
    assert mcnemar(only_second, only_first) == pytest.approx(p)


def test_a_comparison_counts_what_only_one_has_right():
    found = compare(
        scores_of([True] * 12 + [False] * 4), scores_of([True] * 4 + [False] * 8 + [True] * 2 + [False] * 2)
    )
    assert (found.only_first, found.only_second) == (8, 2)
    assert found.difference == pytest.approx(6 / 16)
    assert found.low < found.difference < found.high
    assert found.p == pytest.approx(mcnemar(8, 2))


def test_a_network_is_no_better_than_itself():
    scores = scores_of([True, False] * 10)
    found = compare(scores, scores)
    assert (found.difference, found.only_first, found.only_second, found.p) == (0, 0, 0, 1.0)
    assert found.low == pytest.approx(-found.high)
    assert 0 < found.high < 1
    once_each = compare(*[scores._replace(groups=[str(source // 2) for source in range(20)])] * 2)
    assert once_each.high == pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-3)  # Tango's where none is discordant


def test_the_interval_of_independent_samples_ends_where_a_score_test_rejects():
    """Tango's statistic, its likelihood maximised by trying every share."""
    gains, losses = (np.arange(300) < 40).astype(float), (np.arange(300) >= 285).astype(float)
    for bound in difference_interval(gains, losses, np.ones(300)):
        second = np.linspace(max(0, -bound), (1 - bound) / 2, 200_002)[1:-1]  # the share that only the second has right
        likelihood = 40 * np.log(second + bound) + 15 * np.log(second) + 245 * np.log(1 - 2 * second - bound)
        deviation = np.sqrt(300 * (2 * second[likelihood.argmax()] + bound * (1 - bound)))
        assert abs(40 - 15 - 300 * bound) / deviation == pytest.approx(1.96, rel=0.005)


def test_a_comparison_the_other_way_round_is_its_opposite():
    gains, losses = np.random.default_rng(0).binomial(3, 0.3, (2, 14))
    low, high = difference_interval(gains, losses, np.full(14, 6))
    assert difference_interval(losses, gains, np.full(14, 6)) == (pytest.approx(-high), pytest.approx(-low))


@pytest.mark.parametrize("icc", CORRELATIONS)
@pytest.mark.parametrize("only", DISAGREEMENTS)
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_hold_the_true_difference_as_often_as_they_promise(design, only, icc):
    bounds = of_differences(DESIGNS[design], only, icc, trials=1000)
    assert coverage(only[0] - only[1], bounds) >= 0.93
    assert (bounds[1] - bounds[0]).min() > 0.01


def test_rows_are_matched_by_name():
    scores = scores_of([True, False, True])
    shuffled = Scores(
        *(each[::-1] if isinstance(each, list) else each.flip(0) for each in scores[:3]),
        scores.actions,
        scores.groups[::-1],
    )
    assert match(scores, shuffled).names == scores.names
    assert torch.equal(match(scores, shuffled).logits, scores.logits)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["clip0", "clip1"], "1 names are missing in the second scores .first: clip2"),
        (["clip0", "clip1", "clip2", "clip2"], "clip2 occurs twice"),
        (["clip0", "clip1", "clipX"], "missing in the second scores .first: clip2"),
        (["clip0", "clip1", "clip2", "clip3"], "missing in the first scores .first: clip3"),
    ],
)
def test_a_missing_doubled_or_renamed_clip_is_named(names, message):
    with pytest.raises(ActionRecError, match=message):
        match(scores_of([True] * 3), scores_of([True] * len(names), names))


def test_other_actions_and_labels_are_refused():
    scores = scores_of([True] * 3)
    with pytest.raises(ActionRecError, match="scores of different actions: x, y and x, z"):
        match(scores, scores._replace(actions=("x", "z")))
    with pytest.raises(ActionRecError, match="different labels"):
        match(scores, scores._replace(labels=torch.ones(3, dtype=torch.long)))
