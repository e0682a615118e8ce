"""Metrics that are collected while training, where torchmetrics defines them otherwise than `evaluation.metrics`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from actionrec.evaluation.metrics import METRICS


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


class RankingMetrics(Metric):
    """Metrics of `evaluation.metrics` that need the scores of all samples at once.

    Scores stay on the device until `compute`, and are gathered from all processes.

    Args:
        names: of `evaluation.metrics.METRICS`.
    """

    is_differentiable = False
    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self, names: tuple[str, ...] = ("f1_macro", "map"), **options: Any):
        super().__init__(**options)
        self.names = names
        for state in ("logits", "labels"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Keep a batch: logits (N, K) and labels (N,) int64."""
        self.logits.append(logits.detach())
        self.labels.append(labels)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, between 0 and 1; not numbers where a score is none."""
        logits = dim_zero_cat(self.logits).double().cpu()
        if not logits.isfinite().all():
            return {name: torch.tensor(torch.nan) for name in self.names}
        arrays = logits.softmax(1).numpy(), dim_zero_cat(self.labels).cpu().numpy(), np.ones((1, len(logits)))
        return {name: torch.tensor(float(METRICS[name](*arrays)[0])) for name in self.names}
