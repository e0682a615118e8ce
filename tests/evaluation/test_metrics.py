"""Metrics against scikit-learn, and bootstrap intervals against data whose truth is known."""

import numpy as np
import pytest
import torch
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

from actionrec.evaluation.metrics import (
    METRICS,
    confusion,
    interval,
    intervals,
    measure,
    per_action,
    probabilities_of,
    reliability,
    resample,
    top_k,
)
from actionrec.evaluation.scores import Scores

ACTIONS = tuple("abcdefg")


def random_scores(seed: int, samples: int = 80, absent: int | None = None) -> Scores:
    """Scores that are better than chance; some probabilities are equal, and an action may be absent."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(7), torch.randint(0, 7, (samples - 7,), generator=generator)])
    labels[labels == absent] = 0
    logits = torch.randn(samples, 7, generator=generator).mul(4).round().div(4)
    logits[torch.arange(samples), labels] += 1
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


def test_an_interval_holds_its_metric_and_repeats():
    scores = random_scores(2)
    found, bounds = measure(scores, "test"), intervals(scores, "test")
    for name in ("acc", "acc_macro", "f1_macro", "map"):
        assert bounds[f"test/{name}_low"] < found[f"test/{name}"] < bounds[f"test/{name}_high"]
    assert intervals(scores, "test") == bounds


def test_average_precision_lies_in_its_interval_where_few_are_right():
    """Whose draws alone lie above it: many samples, ranked at random."""
    rng = np.random.default_rng(0)
    labels, logits = torch.arange(510) % 51, torch.from_numpy(rng.normal(size=(510, 51))).float()
    names = [str(name) for name in range(510)]
    scores = Scores(names, logits, labels, tuple(map(str, range(51))), names)
    found, bounds = measure(scores, "test"), intervals(scores, "test")
    assert bounds["test/map_low"] < found["test/map"] < bounds["test/map_high"]


def coverage(films: int, clips: int, by_film: bool, trials: int = 200) -> float:
    """How often a 95 % interval holds the true accuracy, where all clips of a film are right or wrong together."""
    rng = np.random.default_rng(0)
    labels, held = np.zeros(films * clips, int), 0
    groups = np.repeat(np.arange(films), clips) if by_film else np.arange(films * clips)
    weights = resample(groups, replicates=400)
    for _ in range(trials):
        right = np.repeat(rng.random(films) < 0.7, clips)
        probabilities = np.stack([right, ~right], axis=1).astype(float)
        low, high = interval(top_k(probabilities, labels, weights))
        held += low <= 0.7 <= high
    return held / trials


def test_intervals_by_source_video_hold_what_they_promise_and_those_by_clip_do_not():
    assert 0.90 <= coverage(films=60, clips=5, by_film=True) <= 0.99
    assert coverage(films=60, clips=5, by_film=False) < 0.75
