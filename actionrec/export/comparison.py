"""Comparison of an exported network with PyTorch's."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

BATCHES = (1, 3, 16)  # sizes of the compared batches; exporters have fixed the size of their example

Network = Callable[[dict[str, Tensor]], Tensor]


class Comparison(NamedTuple):
    """How far an exported network's logits are from PyTorch's.

    Args:
        difference: largest absolute difference of two logits.
        size: largest absolute logit of PyTorch.
    """

    difference: float
    size: float

    @property
    def relative(self) -> float:
        """The difference as a share of the size; infinite unless both are finite numbers."""
        found = self.difference / max(self.size, 1e-12)
        return found if math.isfinite(found) else math.inf


def compare(reference: Network, exported: Network, samples: Mapping[str, Tensor]) -> Comparison:
    """Compare two networks on batches of the sizes `BATCHES`; a small number of samples is repeated.

    Args:
        reference, exported: a batch → logits (B, K).
        samples: (N, *shape) uint8 for each stream, by name.

    Raises:
        Exception: of any type; the exported network does not take such a batch.
    """
    number, first = len(next(iter(samples.values()))), 0
    differences, sizes = [], []
    for size in BATCHES:
        rows = torch.arange(first, first + size) % number
        batch = {name: each[rows] for name, each in samples.items()}
        expected, found = reference(batch).double(), exported(batch).double()
        if found.shape != expected.shape:
            return Comparison(math.inf, float(expected.abs().max()))
        differences.append((found - expected).abs().max())
        sizes.append(expected.abs().max())
        first += size
    return Comparison(float(torch.stack(differences).max()), float(torch.stack(sizes).max()))
