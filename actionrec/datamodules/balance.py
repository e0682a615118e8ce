"""Compensation of different numbers of training samples per action: weights of the loss, or a balanced sampler."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch.utils.data import WeightedRandomSampler

SAMPLERS = ("balanced",)


def class_weights(labels: Sequence[int], classes: int) -> list[float]:
    """Weight n / (k · n_c) of each class c for the loss, from the labels of n training samples.

    k is the number of classes that have samples, so that the mean weight of a sample is 1. A class without samples has
    the weight 0.

    Args:
        labels: of the samples.
        classes: number of classes.
    """
    counts = Counter(labels)
    return [len(labels) / (len(counts) * counts[label]) if counts[label] else 0.0 for label in range(classes)]


def balanced_sampler(labels: Sequence[int]) -> WeightedRandomSampler:
    """A sampler that draws as many indices as there are labels, with replacement, every class equally often on average.

    The sampler has no generator of its own. Torch's global generator gives each epoch other draws, repeats them by the
    seed, and is restored when a run is resumed. On several devices Lightning wraps the sampler in a distributed one,
    which gives each device its share of the draws.
    """
    counts = Counter(labels)
    weights = torch.tensor([1 / counts[label] for label in labels], dtype=torch.float64)
    return WeightedRandomSampler(weights, len(labels))  # type: ignore[arg-type]  # a tensor is a sequence here
