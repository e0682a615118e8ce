"""Metrics of scores, and their 95 % intervals by source video.

A metric takes probabilities (N, K), labels (N,) and B weightings of the samples (B, N), and returns B values. A weight
is the number of times that a sample counts: weights of one give the metric itself, a weight of zero leaves a sample
out, as the jackknife does.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, t

from actionrec.evaluation.scores import Scores

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

LEFT_OUT = 1000  # largest number of jackknife replicates; more source videos are left out in this many blocks
BINS = 15  # of the calibration error, as in Guo et al., ICML 2017


def top_k(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray, k: int = 1) -> np.ndarray:
    """Top-k accuracy: share of the samples whose label is among the k most probable actions (or all K, if K < k)."""
    return _mean(hits(probabilities, labels, k), weights)


def mean_class(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean class accuracy: mean recall over the actions that occur among the labels."""
    correct = hits(probabilities, labels)
    recalls = [_mean(correct[labels == action], weights[:, labels == action]) for action in np.unique(labels)]
    return np.nanmean(recalls, axis=0)


def f1_macro(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Macro F1: mean over the actions that occur or are predicted of the harmonic mean of precision and recall."""
    answers = probabilities.argmax(1)
    found = []
    for action in np.union1d(labels, answers):
        right = weights[:, (labels == action) & (answers == action)].sum(1)
        either = weights[:, labels == action].sum(1) + weights[:, answers == action].sum(1)
        found.append(_ratio(2 * right, either))
    return np.nanmean(found, axis=0)


def mean_average_precision(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean average precision over the actions that occur; samples are ranked by the action's probability.

    This is Stanford40's official metric (Yao et al., ICCV 2011).
    """
    occurring = np.unique(labels)
    return np.nanmean(
        [average_precision(probabilities[:, action], labels == action, weights) for action in occurring], axis=0
    )


def average_precision(ranking: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: mean over the positive samples of the precision at their rank.

    Args:
        ranking: (N,) scores; a higher score ranks first, and samples of equal score share a rank.
        positive: (N,) bool.
        weights: (B, N).
    """
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
    """Expected calibration error: mean distance of confidence and accuracy over bins of confidence of equal width."""
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
HEADLINES = ("acc", "acc_top5", "acc_macro", "f1_macro", "map")  # metrics with an interval
LIKELIHOODS = ("loss", "ece")  # metrics that need probabilities; a support vector machine's margins are none


def measure(scores: Scores, prefix: str, likelihoods: bool = True) -> dict[str, float]:
    """All `METRICS`, as `<prefix>/<name>`; without `LIKELIHOODS` if the scores are no log-probabilities."""
    arrays = probabilities_of(scores), scores.labels.numpy(), np.ones((1, len(scores.names)))
    names = [name for name in METRICS if likelihoods or name not in LIKELIHOODS]
    return {f"{prefix}/{name}": float(METRICS[name](*arrays)[0]) for name in names}


def intervals(scores: Scores, prefix: str) -> dict[str, float | int]:
    """Intervals `<prefix>/<name>_low` and `_high` of `HEADLINES`, with the number of samples `<prefix>/n` and of source
    videos `<prefix>/sources`.

    Clips of one source video tend to be right or wrong together, so the source video is the unit; see `interval`.
    """
    probabilities, labels = probabilities_of(scores), scores.labels.numpy()
    sizes, source_of = sources(scores.groups)
    bounds: dict[str, float | int] = {f"{prefix}/n": len(labels), f"{prefix}/sources": len(sizes)}
    for name in HEADLINES:
        metric = partial(METRICS[name], probabilities, labels)
        [value] = metric(np.ones((1, len(labels))))
        without = leave_out(metric, source_of) if len(sizes) > 1 else np.array([value])
        centres = [value]
        if name == "map":  # biased upwards in small samples; the second centre has the jackknife's bias subtracted
            centres.append(value - (len(without) - 1) * (np.nanmean(without) - value))
        low, high = interval(np.array(centres), left_out_variance(without), sizes)
        bounds[f"{prefix}/{name}_low"], bounds[f"{prefix}/{name}_high"] = float(low.min()), float(high.max())
    return bounds


def sources(groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Number of samples of each source video (G,), and the index of each sample's source video (N,)."""
    _, source_of, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return sizes, source_of


def leave_out(metric: Callable[[np.ndarray], np.ndarray], source_of: np.ndarray) -> np.ndarray:
    """Jackknife replicates (G,): the metric's value with each of the G source videos left out once.

    More than `LEFT_OUT` source videos are left out in `LEFT_OUT` random blocks.

    Args:
        metric: takes weights (B, N), returns (B,) values.
        source_of: index of each sample's source video (N,).
    """
    count = int(source_of.max()) + 1
    blocks = min(count, LEFT_OUT)
    block_of = (np.random.default_rng(0).permutation(count) % blocks)[source_of]
    # Chunks of at most 100 replicates, since a weight matrix of all replicates would need much memory.
    chunks = np.array_split(np.arange(blocks), math.ceil(blocks / 100))
    return np.concatenate([metric((block_of != chunk[:, None]).astype(float)) for chunk in chunks])


def share_variance(totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Jackknife variance (...) of a mean over samples, with the source video as the unit; see `left_out_variance`.

    Args:
        totals: sum of the samples' values in each source (..., G).
        sizes: samples of each source (G,).
    """
    left = sizes.sum() - sizes
    return left_out_variance((totals.sum(-1, keepdims=True) - totals) / np.maximum(left, 1))


def left_out_variance(values: np.ndarray) -> np.ndarray:
    """Jackknife variance (...) of an estimate, from its replicates (..., G) with each of G source videos left out.

    The jackknife variance is on average too large rather than too small (Efron & Stein, Annals of Statistics 1981),
    while the bootstrap variance is too small if an action has few source videos.
    """
    return np.nanvar(values, axis=-1) * (values.shape[-1] - 1)


def effective_size(variance: Any, one: Any, sizes: np.ndarray) -> np.ndarray:
    """Effective sample size (...): the number of independent samples whose mean has the given variance.

    The size is the variance of one sample divided by the variance of the mean, with three corrections for few source
    videos. First, the variance of the mean is averaged, with the weights G and 1, with the variance under full
    correlation within source videos. Second, the size shrinks by the squared quotient of Student's t quantiles for the
    number of samples and for the effective number of source videos (Σn)²/Σn² (Kish, 1965), each less one degree of
    freedom. Third, the size is clipped to between one and the number of samples.
    If all samples have the same value, the correlation within source videos cannot be estimated, and the size is the
    effective number of source videos.

    Args:
        variance: of the mean, with the source video as the unit (...).
        one: variance of one sample (...).
        sizes: samples of each source (G,).
    """
    samples, count = sizes.sum(), len(sizes)
    equal = samples**2 / np.square(sizes).sum()
    if count < 2:
        return np.ones(np.shape(variance))
    cautious = (count * np.asarray(variance) + one / equal) / (count + 1)
    shrink = (t.ppf(0.975, max(samples - 1, 1)) / t.ppf(0.975, equal - 1)) ** 2
    size = np.divide(
        one * shrink, cautious, out=np.full(np.shape(cautious), float(equal)), where=np.asarray(one) > 1e-12
    )
    return np.clip(size, 1, samples)


def interval(value: Any, variance: Any, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval (...), (...) of a metric between 0 and 1, from its variance by source video; never of width 0.

    The interval is Clopper and Pearson's exact interval of a share for the effective sample size (Korn & Graubard,
    Survey Methodology 1998). `python -m benchmarks.coverage` measures the coverage.

    Args:
        value: the metric (...).
        variance: of the metric, with the source video as the unit (...).
        sizes: samples of each source (G,).
    """
    value, variance = np.clip(np.asarray(value, float), 0, 1), np.asarray(variance, float)
    size = effective_size(variance, value * (1 - value), sizes)
    right, wrong = value * size, (1 - value) * size
    low = np.where(right > 1e-9, beta.ppf(0.025, np.maximum(right, 1e-9), wrong + 1), 0.0)
    high = np.where(wrong > 1e-9, beta.ppf(0.975, right + 1, np.maximum(wrong, 1e-9)), 1.0)
    return low, high


def confusion(scores: Scores) -> np.ndarray:
    """Confusion matrix (K, K) of counts: rows are true actions, columns predictions."""
    counts = np.zeros((len(scores.actions),) * 2, int)
    np.add.at(counts, (scores.labels.numpy(), probabilities_of(scores).argmax(1)), 1)
    return counts


def per_action(scores: Scores) -> list[dict[str, Any]]:
    """A row for each action: number of samples, recall, precision, F1 and average precision; None if undefined."""
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
    """A bin of the samples with a confidence from `low` to `high`; mean confidence and accuracy are NaN if empty."""

    low: float
    high: float
    samples: int
    confidence: float
    accuracy: float


def reliability(scores: Scores) -> list[Bin]:
    """The bins of the calibration error, for a reliability diagram."""
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
    """`<prefix>/per_action`, see `per_action`, and `<prefix>/confusion`, the confusion matrix as a list of rows."""
    return {f"{prefix}/per_action": per_action(scores), f"{prefix}/confusion": confusion(scores).tolist()}


def hits(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """1 for each sample whose label is among its k most probable actions, else 0; ties go to the lower label."""
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
    """`part / whole`; NaN where `whole` is 0, so that `nanmean` leaves the value out."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
