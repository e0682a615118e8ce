"""Fusion of two or more networks from their saved scores.

Fusion weights are fitted on training scores; hyper-parameters, and the stream that fusions are compared with, are
selected on validation scores; test labels are used only for the final table. Networks that were trained on the
validation samples have no such scores, and then the stream that is better on the test is compared with.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from actionrec.evaluation.metrics import loss, probabilities_of, top_k
from actionrec.evaluation.scores import Scores
from actionrec.evaluation.significance import match
from actionrec.system.errors import ActionRecError

STEPS = 20  # grid steps of a weight between 0 and 1
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # candidates for the inverse regularisation strength C


class Fused(NamedTuple):
    """A fusion's scores of the test part.

    Args:
        scores: of the test part.
        chosen: hyper-parameters selected on validation, as text.
        likelihoods: whether the scores are log-probabilities up to a constant per sample. The margins of a support
            vector machine are not.
    """

    scores: Scores
    chosen: str = ""
    likelihoods: bool = True


Parts = Mapping[str, Sequence[Scores]]  # by part, the networks' scores; the networks' order is the same in all parts


def matched(parts: Parts) -> dict[str, list[Scores]]:
    """Each part's scores, with the rows of all networks in the order of the first network.

    Raises:
        ActionRecError: names, labels or actions differ between networks, or a sample is in two parts.
    """
    names = {part: set().union(*(scores.names for scores in found)) for part, found in parts.items()}
    for one, other in combinations(parts, 2):
        if shared := names[one] & names[other]:
            raise ActionRecError(
                f"{len(shared)} samples are among the {one} and the {other} scores (first: {min(shared)}); the runs "
                "are of different splits, fuse runs of one split"
            )
    return {part: [found[0], *(match(found[0], each) for each in found[1:])] for part, found in parts.items()}


def better(streams: Mapping[str, Scores]) -> str:
    """Name of the stream with the highest accuracy; a tie goes to the lower loss, then to the first stream.

    Args:
        streams: by name, scores of one part.
    """
    return max(streams, key=lambda name: _worth(streams[name]))


def average(parts: Parts) -> Fused:
    """Mean of the probabilities (Simonyan & Zisserman, NeurIPS 2014)."""
    return Fused(_weigh(parts["test"], np.ones(len(parts["test"]))))


def maximum(parts: Parts) -> Fused:
    """Maximum of the probabilities over the networks, renormalised."""
    return Fused(_scores(parts["test"], np.max(_log_probabilities(parts["test"]), axis=0)))


def product(parts: Parts) -> Fused:
    """Product of the probabilities, renormalised, computed as the sum of log-probabilities."""
    return Fused(_scores(parts["test"], np.sum(_log_probabilities(parts["test"]), axis=0)))


def weighted(parts: Parts) -> Fused:
    """Weighted mean of the probabilities; a grid search in steps of 1/20 selects the weights on validation."""
    options = [np.array(weights) / STEPS for weights in _shares(len(parts["val"]), STEPS)]
    # max() takes the first of equally good weights. The most even weights come first: a tie is no reason to drop a
    # network.
    options.sort(key=lambda weights: float(np.square(weights).sum()))
    best = max(options, key=lambda weights: _worth(_weigh(parts["val"], weights)))
    return Fused(_weigh(parts["test"], best), "weights " + ", ".join(f"{weight:.2f}" for weight in best))


def linear(parts: Parts) -> Fused:
    """A linear layer on the log-probabilities of all networks."""
    return _fitted(parts, lambda strength: LogisticRegression(C=strength, max_iter=5000))


def svm(parts: Parts) -> Fused:
    """A linear support vector machine on the log-probabilities of all networks, one action against the rest."""
    return _fitted(parts, lambda strength: LinearSVC(C=strength, max_iter=20000), likelihoods=False)


SCORE_FUSIONS: dict[str, Callable[[Parts], Fused]] = {
    "average": average,
    "weighted": weighted,
    "max": maximum,
    "product": product,
    "linear layer": linear,
    "linear SVM": svm,
}
NEEDED = {"weighted": ("val",), **dict.fromkeys(("linear layer", "linear SVM"), ("train", "val"))}  # beside the test


def _fitted(parts: Parts, create: Callable[[float], Any], likelihoods: bool = True) -> Fused:
    inputs = {part: np.concatenate(_log_probabilities(found), axis=1) for part, found in parts.items()}
    labels = parts["train"][0].labels.numpy()
    candidates = [(strength, create(strength).fit(inputs["train"], labels)) for strength in STRENGTHS]

    def worth(candidate: tuple[float, Any]) -> tuple[float, ...]:
        found = _worth(_scores(parts["val"], _decide(candidate[1], inputs["val"], parts["val"])))
        return found if likelihoods else found[:1]  # ties go to the first candidate, the most regularised one

    strength, best = max(candidates, key=worth)
    decided = _scores(parts["test"], _decide(best, inputs["test"], parts["test"]))
    return Fused(decided, f"C = {strength:g}", likelihoods)


def _decide(classifier: Any, inputs: np.ndarray, like: Sequence[Scores]) -> np.ndarray:
    """Logits (N, K) of a classifier; actions without a training sample get -1000."""
    decisions = classifier.decision_function(inputs)
    if decisions.ndim == 1:  # with two classes, scikit-learn returns the second class's decision only
        decisions = np.stack([-decisions, decisions], axis=1) / 2
    logits = np.full((len(inputs), len(like[0].actions)), -1e3)
    logits[:, classifier.classes_] = decisions
    return logits


def _shares(parts: int, whole: int) -> Iterator[tuple[int, ...]]:
    """Every tuple of `parts` non-negative integers with the sum `whole`."""
    if parts == 1:
        yield (whole,)
        return
    for first in range(whole + 1):
        for rest in _shares(parts - 1, whole - first):
            yield (first, *rest)


def _weigh(found: Sequence[Scores], weights: np.ndarray) -> Scores:
    probabilities = np.tensordot(weights / weights.sum(), [probabilities_of(each) for each in found], axes=1)
    return _scores(found, np.log(np.maximum(probabilities, 1e-12)))


def _log_probabilities(found: Sequence[Scores]) -> list[np.ndarray]:
    return [np.log(np.maximum(probabilities_of(each), 1e-12)) for each in found]


def _scores(like: Sequence[Scores], logits: np.ndarray) -> Scores:
    return like[0]._replace(logits=torch.from_numpy(logits).float())


def _worth(scores: Scores) -> tuple[float, float]:
    """Criterion of all selections on validation: accuracy, and in a tie the negative loss."""
    arrays = probabilities_of(scores), scores.labels.numpy(), np.ones((1, len(scores.names)))
    return float(top_k(*arrays)[0]), -float(loss(*arrays)[0])
