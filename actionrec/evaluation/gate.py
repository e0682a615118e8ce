"""A gate over streams: whether and how to fuse them, decided on scores of clips that no network was trained on.

The candidates go from the best single stream to a weighted product. The parameters of a candidate, and its loss, come
from disjoint sets of source videos (stacked generalisation: Wolpert 1992). A richer candidate replaces a simpler one
only if it is better by more than a standard error (after the one-standard-error rule of Breiman et al. 1984), and the
single stream only if it is better by two. Of three streams and more, those without which the best candidate is worse
by no more than a standard error are left out, one after another. So a stream that adds nothing gets no weight, and the
fusion of two is its better stream, with the answers of that stream.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.model_selection import GroupKFold

from actionrec.evaluation.metrics import share_variance, sources
from actionrec.evaluation.temperature import temperature
from actionrec.system.errors import ActionRecError

PARTS = 10  # of the source videos, each of which is left out once
RIDGE = 0.01  # pull of the weights of a product towards their mean
ERRORS_TO_FUSE = 2  # standard errors by which a fusion has to be better than the single stream
NEGLIGIBLE = 0.001  # nats; a smaller gain in log-loss is no reason for a richer candidate
_LEAST = -27.6  # log-probability below which a stream's scores are cut, ln 1e-12

Logs = np.ndarray  # (S, N, K) float64: log-probabilities of N clips by S streams


class Gate(NamedTuple):
    """How the streams' log-probabilities are combined.

    Args:
        weights: of the streams, at least 0; a stream of weight 0 does not matter.
        temperatures: of the streams, above 0; they divide the log-probabilities.
        mixes: whether the probabilities are averaged (a mixture); otherwise the log-probabilities are summed (a
            product).
    """

    weights: tuple[float, ...]
    temperatures: tuple[float, ...]
    mixes: bool = False

    def combine(self, logs: Logs) -> np.ndarray:
        """Log-probabilities (N, K) of the streams' log-probabilities."""
        used = [row for row, weight in enumerate(self.weights) if weight]
        weights = np.array(self.weights)[used, None, None]
        seen = log_softmax(logs[used] / np.array(self.temperatures)[used, None, None], axis=2)
        if self.mixes:
            return logsumexp(np.log(weights) + seen, axis=0) - np.log(weights.sum())
        return log_softmax((weights * seen).sum(axis=0), axis=1)


class Choice(NamedTuple):
    """The chosen gate, and how each candidate did.

    Args:
        gate: fitted to all clips.
        name: of the candidate, such as `product`, or `product of frame, flow` if streams are left out.
        single: index of the best single stream.
        losses: mean log-loss of each candidate on sources that its parameters were not fitted to, in nats.
        errors: standard error, over source videos, of each candidate's difference to the best single stream.
        accuracies: of each candidate, likewise.
        worse: share of resamplings of the source videos in which the gate is less accurate than the best single
            stream.
    """

    gate: Gate
    name: str
    single: int
    losses: dict[str, float]
    errors: dict[str, float]
    accuracies: dict[str, float]
    worse: float


def choose(logs: Logs, labels: np.ndarray, groups: Sequence[str], streams: Sequence[str]) -> Choice:
    """Choose a gate by the scores of networks that were not trained on the clips' source videos.

    Args:
        logs: (S, N, K) logits or log-probabilities of S streams.
        labels: (N,).
        groups: the N source videos.
        streams: names of the S streams.

    Raises:
        ActionRecError: there are fewer than two source videos.
    """
    logs = np.maximum(log_softmax(np.asarray(logs, float), axis=2), _LEAST)
    sizes, source_of = sources(groups)
    if len(sizes) < 2:
        raise ActionRecError(f"{len(labels)} clips of one source video are too few for a gate; use model.fusion=concat")
    parts = list(GroupKFold(min(PARTS, len(sizes))).split(labels, labels, source_of))

    def judged(name: str, fit: Fit) -> Judged:
        found = _left_out(fit, logs, labels, parts)
        return Judged(name, fit, -found[np.arange(len(labels)), labels], found.argmax(1) == labels)

    def fused(rows: tuple[int, ...]) -> list[Judged]:
        of = "" if len(rows) == len(streams) else f" of {', '.join(streams[row] for row in rows)}"
        return [judged(name + of, _among(rows, fit)) for name, fit in FUSIONS.items()]

    def error(one: Judged, other: Judged) -> float:
        return _standard_error(one.losses - other.losses, source_of, sizes)

    def best_of(fusions: Sequence[Judged]) -> Judged:
        best = alone
        for richer in fusions:
            least = (ERRORS_TO_FUSE if best is alone else 1) * error(richer, best) + NEGLIGIBLE
            best = richer if best.loss - richer.loss > least else best
        return best

    singles = [judged(f"{name} alone", _single(row)) for row, name in enumerate(streams)]
    single = min(range(len(singles)), key=lambda row: singles[row].loss)
    alone = singles[single]  # stands for all of them, which are equally simple
    rows = tuple(range(len(streams)))
    fusions = fused(rows)
    best = best_of(fusions)
    while len(rows) > 2:
        fewer = [(best_of(fused(others)), others) for others in combinations(rows, len(rows) - 1)]
        simpler, others = min(fewer, key=lambda each: each[0].loss)
        if simpler.loss - best.loss > error(simpler, best):
            break
        best, rows = simpler, others
    shown = {each.name: each for each in (*singles, *fusions, best)}
    gate = best.fit(logs, labels)
    if best is alone:  # a temperature, which comes before the mean over the views of a clip, would change some answers
        gate = gate._replace(temperatures=(1.0,) * len(streams))
    return Choice(
        gate,
        best.name,
        single,
        {name: each.loss for name, each in shown.items()},
        {name: error(each, alone) for name, each in shown.items()},
        {name: float(each.right.mean()) for name, each in shown.items()},
        _share_below(best.right.astype(float) - alone.right, source_of),
    )


Fit = Callable[[Logs, np.ndarray], Gate]


class Judged(NamedTuple):
    """A candidate: its log-losses (N,), and whether it is right (N,), on sources that it was not fitted to."""

    name: str
    fit: Fit
    losses: np.ndarray
    right: np.ndarray

    @property
    def loss(self) -> float:
        """The mean log-loss."""
        return float(self.losses.mean())


def _among(rows: tuple[int, ...], fit: Fit) -> Fit:
    """The fusion of some of the streams."""

    def fit_rows(logs: Logs, labels: np.ndarray) -> Gate:
        gate = fit(logs[list(rows)], labels)
        weights, temperatures = [0.0] * len(logs), [1.0] * len(logs)
        for row, weight, found in zip(rows, gate.weights, gate.temperatures, strict=True):
            weights[row], temperatures[row] = weight, found
        return Gate(tuple(weights), tuple(temperatures), gate.mixes)

    return fit_rows


def _single(row: int) -> Fit:
    def fit(logs: Logs, labels: np.ndarray) -> Gate:
        weights = tuple(float(each == row) for each in range(len(logs)))
        return Gate(weights, _temperatures(logs, labels))

    return fit


def _average(logs: Logs, labels: np.ndarray) -> Gate:
    return Gate((1 / len(logs),) * len(logs), (1.0,) * len(logs), mixes=True)


def _product(logs: Logs, labels: np.ndarray) -> Gate:
    found = temperature(logs.sum(axis=0), labels)
    return Gate((1 / found,) * len(logs), (1.0,) * len(logs))


def _calibrated(logs: Logs, labels: np.ndarray) -> Gate:
    return Gate((1 / len(logs),) * len(logs), _temperatures(logs, labels), mixes=True)


def _weighted(logs: Logs, labels: np.ndarray) -> Gate:
    temperatures = _temperatures(logs, labels)

    def loss(shares: np.ndarray) -> float:
        return _loss(Gate(tuple(np.exp(log_softmax(shares))), temperatures, mixes=True).combine(logs), labels)

    found = minimize(loss, np.zeros(len(logs)), method="L-BFGS-B", bounds=[(-4, 4)] * len(logs)).x
    return Gate(tuple(map(float, np.exp(log_softmax(found)))), temperatures, mixes=True)


def _stacked(logs: Logs, labels: np.ndarray) -> Gate:
    def loss(weights: np.ndarray) -> float:
        summed = np.tensordot(weights, logs, axes=1)
        return _loss(log_softmax(summed, axis=1), labels) + RIDGE * float(np.square(weights - weights.mean()).sum())

    start = np.full(len(logs), 1 / len(logs))
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(0, 10)] * len(logs)).x
    return Gate(tuple(map(float, found if found.any() else start)), (1.0,) * len(logs))


# From simple to rich.
FUSIONS: dict[str, Fit] = {
    "average": _average,
    "product": _product,
    "calibrated average": _calibrated,
    "weighted average": _weighted,
    "stacking": _stacked,
}


def _left_out(fit: Fit, logs: Logs, labels: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Log-probabilities (N, K) of each clip by the candidate that was fitted to other sources."""
    found = np.empty(logs.shape[1:])
    for fitted, left in parts:
        found[left] = fit(logs[:, fitted], labels[fitted]).combine(logs[:, left])
    return np.maximum(found, _LEAST)


def _temperatures(logs: Logs, labels: np.ndarray) -> tuple[float, ...]:
    return tuple(temperature(each, labels) for each in logs)


def _loss(logs: np.ndarray, labels: np.ndarray) -> float:
    return -float(logs[np.arange(len(labels)), labels].mean())


def _standard_error(differences: np.ndarray, source_of: np.ndarray, sizes: np.ndarray) -> float:
    """Standard error of the mean of clips' differences, whose source videos are the independent units."""
    return float(np.sqrt(share_variance(np.bincount(source_of, differences), sizes)))


def _share_below(differences: np.ndarray, source_of: np.ndarray, rounds: int = 2000) -> float:
    sums = np.bincount(source_of, differences)
    drawn = np.random.default_rng(0).integers(len(sums), size=(rounds, len(sums)))
    return float((sums[drawn].sum(axis=1) < 0).mean())
