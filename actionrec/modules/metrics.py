"""Metrics that are collected while training, where torchmetrics defines them otherwise than `evaluation.metrics`."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanClassAccuracy(Metric):
    """Mean over the actions that occur of the share of their samples that is right.

    As `evaluation.metrics.mean_class`. torchmetrics' macro average also counts actions that are answered but do not
    occur, as zero.

    Args:
        classes: number of actions.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    right: Tensor
    occurring: Tensor

    def __init__(self, classes: int, **options: Any):
        super().__init__(**options)
        for name in ("right", "occurring"):
            self.add_state(name, torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (N, K) and labels (N,) int64."""
        # torch.bincount would have to look at the labels, for which a GPU would have to be waited for.
        self.right.index_add_(0, labels, (logits.argmax(1) == labels).long())
        self.occurring.index_add_(0, labels, torch.ones_like(labels))

    def compute(self) -> Tensor:
        """The mean, between 0 and 1; not a number before the first sample."""
        recalls = self.right / self.occurring.clamp_min(1)
        return recalls.sum() / (self.occurring > 0).sum()
