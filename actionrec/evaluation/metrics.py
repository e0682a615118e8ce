"""What scores are worth: metrics, each for many weightings of the samples at once, and their intervals.

A metric takes probabilities (N, K), labels (N,) and weights (B, N), and returns B values; a weight is how often a
sample counts. Weights of one give the metric itself, weights of zero leave samples out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, t

from actionrec.evaluation.scores import Scores

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

LEFT_OUT = 1000  # source videos, or blocks of them, that the jackknife leaves out one after the other
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
LIKELIHOODS = ("loss", "ece")  # those of probabilities, which margins are not


def measure(scores: Scores, prefix: str, likelihoods: bool = True) -> dict[str, float]:
    """`<prefix>/<name>` of every one of `METRICS`; without `LIKELIHOODS` where the scores are no log-probabilities."""
    arrays = probabilities_of(scores), scores.labels.numpy(), np.ones((1, len(scores.names)))
    names = [name for name in METRICS if likelihoods or name not in LIKELIHOODS]
    return {f"{prefix}/{name}": float(METRICS[name](*arrays)[0]) for name in names}


def intervals(scores: Scores, prefix: str) -> dict[str, float | int]:
    """`<prefix>/<name>_low` and `_high` of the headlines, and what they rest on: `<prefix>/n` samples and
    `<prefix>/sources` source videos.

    Clips of one source video go right or wrong together, so the source video is the unit; see `interval`.
    """
    probabilities, labels = probabilities_of(scores), scores.labels.numpy()
    sizes, source_of = sources(scores.groups)
    bounds: dict[str, float | int] = {f"{prefix}/n": len(labels), f"{prefix}/sources": len(sizes)}
    for name in HEADLINES:
        metric = partial(METRICS[name], probabilities, labels)
        [value] = metric(np.ones((1, len(labels))))
        without = leave_out(metric, source_of) if len(sizes) > 1 else np.array([value])
        centres = [value]
        if name == "map":  # too high in small samples, by as much as it is higher without a source than with all
            centres.append(value - (len(without) - 1) * (np.nanmean(without) - value))
        low, high = interval(np.array(centres), left_out_variance(without), sizes)
        bounds[f"{prefix}/{name}_low"], bounds[f"{prefix}/{name}_high"] = float(low.min()), float(high.max())
    return bounds


def sources(groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Samples of each source video (G,), and which of the G each sample (N,) is of."""
    _, source_of, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return sizes, source_of


def leave_out(metric: Callable[[np.ndarray], np.ndarray], source_of: np.ndarray) -> np.ndarray:
    """A metric's values (G,) without each of G source videos; of more than `LEFT_OUT` several are left out together.

    Args:
        metric: takes weights (B, N), returns (B,) values.
        source_of: number of the source of each sample (N,).
    """
    count = int(source_of.max()) + 1
    blocks = min(count, LEFT_OUT)
    block_of = (np.random.default_rng(0).permutation(count) % blocks)[source_of]
    chunks = np.array_split(np.arange(blocks), -(-blocks // 100))  # weights of all at once would need much memory
    return np.concatenate([metric((block_of != chunk[:, None]).astype(float)) for chunk in chunks])


def share_variance(totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Variance (...) of a mean over samples, by source video; see `left_out_variance`.

    Args:
        totals: sum of the samples' values in each source (..., G).
        sizes: samples of each source (G,).
    """
    left = sizes.sum() - sizes
    return left_out_variance((totals.sum(-1, keepdims=True) - totals) / np.maximum(left, 1))


def left_out_variance(values: np.ndarray) -> np.ndarray:
    """The jackknife's variance (...) of an estimate, from its values (..., G) without each of G sources.

    On average too large rather than too small (Efron & Stein, Annals of Statistics 1981), while a bootstrap's is too
    small where an action has few sources.
    """
    return np.nanvar(values, axis=-1) * (values.shape[-1] - 1)


def effective_size(variance: Any, one: Any, sizes: np.ndarray) -> np.ndarray:
    """How many independent samples (...) would leave a mean as uncertain as source videos do.

    The variance of one sample over the mean's own, with three cautions for few sources. The mean's variance is held
    together with that of one more source, all of whose samples go together. The size shrinks by the quotient of the
    quantiles of normal and t, for as many degrees of freedom as there are sources, unequal ones counted as
    (Σn)²/Σn² (Kish, 1965), less one. And it is never more than the samples, nor less than one.
    Where all samples are alike, nothing shows how far those of a source go together: each source then counts once.

    Args:
        variance: of the mean, by source (...).
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
    """The 95 % interval (...), (...) of metrics between 0 and 1 from their variance by source video; never of width 0.

    Clopper and Pearson's exact interval of a share, for the effective number of samples (Korn & Graubard, Survey
    Methodology 1998). `python -m benchmarks.coverage` shows how often it holds the truth.

    Args:
        value: the metric (...).
        variance: of it, by source (...).
        sizes: samples of each source (G,).
    """
    value, variance = np.clip(np.asarray(value, float), 0, 1), np.asarray(variance, float)
    size = effective_size(variance, value * (1 - value), sizes)
    right, wrong = value * size, (1 - value) * size
    low = np.where(right > 1e-9, beta.ppf(0.025, np.maximum(right, 1e-9), wrong + 1), 0.0)
    high = np.where(wrong > 1e-9, beta.ppf(0.975, right + 1, np.maximum(wrong, 1e-9)), 1.0)
    return low, high


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
