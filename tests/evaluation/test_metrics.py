"""Metrics against scikit-learn, and intervals against exact ones and data whose truth is known."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from actionrec.evaluation import metrics
from actionrec.evaluation.metrics import (
    HEADLINES,
    METRICS,
    confusion,
    interval,
    intervals,
    measure,
    per_action,
    probabilities_of,
    reliability,
    share_variance,
)
from actionrec.evaluation.scores import Scores
from benchmarks.coverage import ACCURACIES, CORRELATIONS, DESIGNS, HARDER, coverage, of_headlines, of_shares

ACTIONS = tuple("abcdefg")


def random_scores(seed: int, samples: int = 80, absent: int | None = None, skill: float = 1) -> Scores:
    """Scores that are better than chance; some probabilities are equal, and an action may be absent."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(7), torch.randint(0, 7, (samples - 7,), generator=generator)])
    labels[labels == absent] = 0
    logits = torch.randn(samples, 7, generator=generator).mul(4).round().div(4)
    logits[torch.arange(samples), labels] += skill
    return Scores(
        [f"clip{i}" for i in range(samples)], logits, labels, ACTIONS, [f"film{i // 4}" for i in range(samples)]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [None, 3])
def test_metrics_are_scikit_learns(seed, absent):
    scores = random_scores(seed, absent=absent)
    found = measure(scores, "test")
    labels, probabilities = scores.labels.numpy(), probabilities_of(scores)
    answers, every = probabilities.argmax(1), range(7)
    assert found["test/acc"] == pytest.approx((answers == labels).mean())
    assert found["test/acc_macro"] == pytest.approx(balanced_accuracy_score(labels, answers))
    assert found["test/f1_macro"] == pytest.approx(f1_score(labels, answers, average="macro"))
    assert found["test/loss"] == pytest.approx(log_loss(labels, probabilities, labels=every))
    there = [action for action in every if action in labels]
    of_action = [average_precision_score(labels == action, probabilities[:, action]) for action in there]
    assert found["test/map"] == pytest.approx(np.mean(of_action))
    error = multiclass_calibration_error(torch.from_numpy(probabilities), scores.labels, 7, n_bins=15, norm="l1")
    assert found["test/ece"] == pytest.approx(float(error), abs=1e-6)
    distinct = scores._replace(logits=torch.randn(80, 7, generator=torch.Generator().manual_seed(seed)))
    expected = top_k_accuracy_score(labels, probabilities_of(distinct), k=5, labels=every)
    assert measure(distinct, "test")["test/acc_top5"] == pytest.approx(expected)


def test_bins_add_up_to_the_calibration_error():
    scores = random_scores(0)
    bins = reliability(scores)
    assert sum(each.samples for each in bins) == len(scores.names)
    apart = sum(each.samples * abs(each.confidence - each.accuracy) for each in bins if each.samples)
    assert apart / len(scores.names) == pytest.approx(measure(scores, "test")["test/ece"])


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_counts_a_sample_as_often(name):
    scores = random_scores(0)
    arrays = probabilities_of(scores), scores.labels.numpy()
    times = np.random.default_rng(0).integers(0, 4, len(scores.names))
    [weighted] = METRICS[name](*arrays, times[None].astype(float))
    [repeated] = METRICS[name](*(np.repeat(each, times, axis=0) for each in arrays), np.ones((1, times.sum())))
    assert weighted == pytest.approx(repeated)


def test_top5_of_two_actions_is_top2():
    scores = Scores(["a", "b"], torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), ("x", "y"), ["a", "b"])
    found = measure(scores, "val")
    assert (found["val/acc"], found["val/acc_top5"], found["val/acc_macro"]) == (0.5, 1.0, 0.5)
    assert found["val/loss"] == pytest.approx(0.8133, abs=1e-3)


def test_the_table_of_actions_is_scikit_learns():
    scores = random_scores(1)
    labels, answers = scores.labels.numpy(), probabilities_of(scores).argmax(1)
    assert (confusion(scores) == confusion_matrix(labels, answers)).all()
    precision, recall, f1, support = precision_recall_fscore_support(labels, answers)
    for index, row in enumerate(per_action(scores)):
        assert (row["action"], row["n"]) == (ACTIONS[index], support[index])
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (precision[index], recall[index], f1[index])
        )


def shares(right: Sequence[int], sizes: Sequence[int]) -> Scores:
    """Scores of two actions, of which so many of each source's samples are right."""
    hit = np.concatenate([np.arange(size) < count for count, size in zip(right, sizes, strict=True)])
    labels = torch.arange(len(hit)) % 2
    logits = torch.eye(2)[torch.where(torch.from_numpy(hit), labels, 1 - labels)]
    groups = [f"film{source}" for source, size in enumerate(sizes) for _ in range(size)]
    return Scores([str(name) for name in range(len(hit))], logits, labels, ("x", "y"), groups)


def bounds_of(scores: Scores, name: str = "acc") -> tuple[float, float]:
    found = intervals(scores, "test")
    return found[f"test/{name}_low"], found[f"test/{name}_high"]


def test_of_samples_that_are_sources_the_interval_is_clopper_and_pearsons():
    right = [True] * 140 + [False] * 60
    exact = binomtest(140, 200).proportion_ci(0.95, "exact")
    assert bounds_of(shares(right, [1] * 200)) == pytest.approx((exact.low, exact.high), abs=2e-3)


@pytest.mark.parametrize("name", HEADLINES)
@pytest.mark.parametrize("size", [1, 9])
def test_where_all_is_right_or_wrong_each_source_counts_once(name, size):
    low, high = bounds_of(shares([size] * 10, [size] * 10), name)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 10)), 1)
    if name == "acc":
        low, high = bounds_of(shares([0] * 10, [size] * 10), name)
        assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / 10)))


def test_the_more_clips_of_a_source_go_together_the_wider_the_interval():
    """The same 63 of 90, spread evenly over ten sources, and less and less so."""
    spreads = ([6, 7] * 3 + [6] * 4, [4, 9, 5, 8, 4, 9, 5, 8, 6, 5], [9] * 7 + [0] * 3)
    widths = [np.subtract(*bounds_of(shares(right, [9] * 10))[::-1]) for right in spreads]
    assert widths[0] < widths[1] < widths[2]
    alone = np.subtract(*bounds_of(shares([1] * 63 + [0] * 27, [1] * 90))[::-1])
    assert alone < widths[0]


def test_an_interval_repeats_and_says_of_how_many_sources():
    scores = random_scores(2)
    found = intervals(scores, "test")
    assert found == intervals(scores, "test")
    assert (found["test/n"], found["test/sources"]) == (80, 20)
    assert type(found["test/sources"]) is int
    assert len(found) == 2 + 2 * len(HEADLINES)


@pytest.mark.parametrize("name", HEADLINES)
def test_an_interval_moves_with_its_metric(name):
    worse, better = (random_scores(2, skill=skill) for skill in (0.5, 3))
    found = [bounds_of(scores, name) for scores in (worse, better)]
    values = [measure(scores, "x")[f"x/{name}"] for scores in (worse, better)]
    assert all(low < value <= high for (low, high), value in zip(found, values, strict=True))
    assert found[0][0] < found[1][0]
    assert found[0][1] <= found[1][1]
    if name != "acc_top5":
        assert found[0][1] < values[1] < 1


@pytest.mark.parametrize("groups", [["one"] * 80, ["one"] * 79 + ["two"]])
def test_of_one_source_nothing_is_known(groups):
    found = intervals(random_scores(2)._replace(groups=groups), "test")
    for name in HEADLINES:
        assert found[f"test/{name}_high"] - found[f"test/{name}_low"] > 0.9


def test_many_stills_are_left_out_together(monkeypatch):
    """Then the interval is nearly what it is when they are left out one by one."""
    scores = random_scores(3, samples=600)
    scores = scores._replace(groups=scores.names)
    one_by_one = bounds_of(scores, "acc_macro")
    monkeypatch.setattr(metrics, "LEFT_OUT", 150)
    together = bounds_of(scores, "acc_macro")
    assert together != one_by_one
    assert together == pytest.approx(one_by_one, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_interval_is_without_width_or_leaves_its_metric_out(sources):
    scores = shares([min(right, size) for right, size in sources], [size for _, size in sources])
    found, value = intervals(scores, "test"), measure(scores, "test")
    for name in HEADLINES:
        low, high = found[f"test/{name}_low"], found[f"test/{name}_high"]
        assert 0 <= low <= value[f"test/{name}"] + 1e-9
        assert value[f"test/{name}"] - 1e-9 <= high <= 1
        assert high - low > 1e-3


@pytest.mark.parametrize("icc", CORRELATIONS)
@pytest.mark.parametrize("accuracy", ACCURACIES)
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_hold_the_true_accuracy_as_often_as_they_promise(design, accuracy, icc):
    bounds = of_shares(DESIGNS[design], accuracy, icc, trials=2000)
    assert coverage(accuracy, bounds) >= 0.93
    assert (bounds[1] - bounds[0]).min() > 0.01


@pytest.mark.parametrize(("design", "actions", "skill", "icc"), [("10 × 9", 2, 1.0, 0.3), ("38 × 2", 7, 1.0, 0.0)])
def test_every_metrics_intervals_hold_the_truth(design, actions, skill, icc):
    for name, (truth, bounds) in of_headlines(DESIGNS[design], actions, skill, icc, trials=60).items():
        assert coverage(truth, bounds) >= 0.88, name  # sixty trials tell 0.97 from 0.80


def test_intervals_of_very_unequal_sources_hold_nearly_as_much():
    for accuracy in ACCURACIES:
        for icc in CORRELATIONS:
            assert coverage(accuracy, of_shares(HARDER["38 × 1 to 10"], accuracy, icc, trials=2000)) >= 0.89


def test_intervals_that_take_clips_for_independent_do_not_hold_it():
    """Why the source video is the unit: of five clips that are right or wrong together."""
    right = np.random.default_rng(0).random((2000, 60)) < 0.7
    by_clip = np.repeat(right, 5, axis=1).astype(float)
    bounds = np.stack(interval(right.mean(1), share_variance(by_clip, np.ones(300)), np.ones(300)))
    assert coverage(0.7, bounds) < 0.75
