"""What scores are worth: metrics, each for many weightings of the samples at once, and their intervals.

A metric takes probabilities (N, K), labels (N,) and weights (B, N), and returns B values; a weight is how often a
sample counts. Weights of one give the metric itself, those of `resample` its bootstrap distribution.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from actionrec.evaluation.scores import Scores

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

REPLICATES = 2000
BINS = 15  # of the calibration error, as in Guo et al., ICML 2017


def top_k(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray, k: int = 1) -> np.ndarray:
    """Share of the samples whose label is among the k most probable actions (all of them where there are fewer)."""
    return _mean(hits(probabilities, labels, k), weights)


def mean_class(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the actions that occur of the share of their samples that is right."""
    correct = hits(probabilities, labels)
    recalls = [_mean(correct[labels == action], weights[:, labels == action]) for action in np.unique(labels)]
    return np.nanmean(recalls, axis=0)


def f1_macro(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the actions that occur, or are answered, of the harmonic mean of precision and recall."""
    answers = probabilities.argmax(1)
    found = []
    for action in np.union1d(labels, answers):
        right = weights[:, (labels == action) & (answers == action)].sum(1)
        either = weights[:, labels == action].sum(1) + weights[:, answers == action].sum(1)
        found.append(_ratio(2 * right, either))
    return np.nanmean(found, axis=0)


def mean_average_precision(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the actions that occur of the average precision of ranking by their probability.

    Stanford40's official metric (Yao et al., ICCV 2011).
    """
    occurring = np.unique(labels)
    return np.nanmean(
        [average_precision(probabilities[:, action], labels == action, weights) for action in occurring], axis=0
    )


def average_precision(ranking: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the precision down to each positive (N,) sample in falling order of `ranking` (N,); equals share one."""
    order = np.argsort(-ranking, kind="stable")
    ranking, positive, weights = ranking[order], positive[order], weights[:, order]
    last_of_rank = np.searchsorted(-ranking, -ranking, side="right") - 1
    found = np.cumsum(weights * positive, axis=1)
    precision = _ratio(found[:, last_of_rank], np.cumsum(weights, axis=1)[:, last_of_rank])
    return _ratio(np.nansum(weights[:, positive] * precision[:, positive], axis=1), found[:, -1])


def loss(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean negative log-likelihood of the labels, in nats."""
    likelihoods = probabilities[np.arange(len(labels)), labels]
    return _mean(-np.log(np.maximum(likelihoods, 1e-12)), weights)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error: over equal bins of confidence, how far confidence and accuracy are apart."""
    confidence = probabilities.max(1)
    gaps = confidence - hits(probabilities, labels)
    bins = _bin_of(confidence)
    apart = [np.abs((weights[:, bins == each] * gaps[bins == each]).sum(1)) for each in np.unique(bins)]
    return np.sum(apart, axis=0) / weights.sum(1)


METRICS: dict[str, Metric] = {
    "loss": loss,
    "acc": top_k,
    "acc_top5": partial(top_k, k=5),
    "acc_macro": mean_class,
    "f1_macro": f1_macro,
    "map": mean_average_precision,
    "ece": calibration_error,
}
HEADLINES = ("acc", "acc_top5", "acc_macro", "f1_macro", "map")  # those with an interval


def measure(scores: Scores, prefix: str) -> dict[str, float]:
    """`<prefix>/<name>` of every one of `METRICS`."""
    arrays = probabilities_of(scores), scores.labels.numpy(), np.ones((1, len(scores.names)))
    return {f"{prefix}/{name}": float(metric(*arrays)[0]) for name, metric in METRICS.items()}


def intervals(scores: Scores, prefix: str) -> dict[str, float]:
    """`<prefix>/<name>_low` and `_high` of the headlines: the 95 % bootstrap interval, resampled by source video.

    Moved by the bootstrap's estimate of the bias: drawn twice, a sample comes twice at its rank, so that draws of
    average precision are too high.
    """
    probabilities, labels, weights = probabilities_of(scores), scores.labels.numpy(), resample(scores.groups)
    bounds = {}
    for name in HEADLINES:
        values = METRICS[name](probabilities, labels, weights)
        bias = np.nanmean(values) - METRICS[name](probabilities, labels, np.ones((1, len(labels))))[0]
        low, high = interval(np.clip(values - bias, 0, 1))
        bounds[f"{prefix}/{name}_low"], bounds[f"{prefix}/{name}_high"] = low, high
    return bounds


def resample(groups: Sequence[str], replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Weights (replicates, N) of a bootstrap over groups: how often each sample's group is drawn.

    Clips of one source video go right or wrong together, so that resampling clips would give intervals that are too
    narrow (the cluster bootstrap; Davison & Hinkley, 1997, section 3.8).
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    return draws[:, group_of].astype(float)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of a bootstrap distribution."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def confusion(scores: Scores) -> np.ndarray:
    """Counts (K, K): row the action, column the answer."""
    counts = np.zeros((len(scores.actions),) * 2, int)
    np.add.at(counts, (scores.labels.numpy(), probabilities_of(scores).argmax(1)), 1)
    return counts


def per_action(scores: Scores) -> list[dict[str, Any]]:
    """A row for each action: its samples, recall, precision, F1 and average precision; None where undefined."""
    counts, probabilities, labels = confusion(scores), probabilities_of(scores), scores.labels.numpy()
    right, true, answered = counts.diagonal(), counts.sum(1), counts.sum(0)
    recall, precision, f1 = _ratio(right, true), _ratio(right, answered), _ratio(2 * right, true + answered)
    once = np.ones((1, len(labels)))
    return [
        {
            "action": action,
            "n": int(true[index]),
            "recall": _defined(recall[index]),
            "precision": _defined(precision[index]),
            "f1": _defined(f1[index]),
            "average_precision": _defined(average_precision(probabilities[:, index], labels == index, once)[0]),
        }
        for index, action in enumerate(scores.actions)
    ]


class Bin(NamedTuple):
    """Samples whose confidence is from `low` to `high`: their mean confidence and accuracy, not numbers where none."""

    low: float
    high: float
    samples: int
    confidence: float
    accuracy: float


def reliability(scores: Scores) -> list[Bin]:
    """The bins that the calibration error is made of, by which confidence is held against accuracy."""
    probabilities = probabilities_of(scores)
    confidence, correct = probabilities.max(1), hits(probabilities, scores.labels.numpy())
    members = _bin_of(confidence) == np.arange(BINS)[:, None]
    counts = members.sum(1)
    means = _ratio(members @ confidence, counts), _ratio(members @ correct, counts)
    return [
        Bin(index / BINS, (index + 1) / BINS, int(counts[index]), *(float(mean[index]) for mean in means))
        for index in range(BINS)
    ]


def tables(scores: Scores, prefix: str) -> dict[str, Any]:
    """`<prefix>/per_action`, see there, and `<prefix>/confusion`: counts, a list for each action in the same order."""
    return {f"{prefix}/per_action": per_action(scores), f"{prefix}/confusion": confusion(scores).tolist()}


def hits(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Whether each sample's label is among its k most probable actions, as 0 and 1; of equals the first is taken."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return (best == labels[:, None]).any(1).astype(float)


def probabilities_of(scores: Scores) -> np.ndarray:
    """Probabilities (N, K) float64 of scores."""
    return scores.logits.double().softmax(1).numpy()


def _bin_of(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _ratio(weights @ values, weights.sum(1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Not a number where the whole is nothing, which means leave out."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
