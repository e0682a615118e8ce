"""Metrics collected during training, for which torchmetrics has other definitions than `evaluation.metrics`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from actionrec.evaluation.metrics import METRICS


class MeanClassAccuracy(Metric):
    """Mean recall over the actions that occur among the labels, as `evaluation.metrics.mean_class`.

    torchmetrics' macro average also counts an action that is predicted but does not occur, with a recall of zero.

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
        # torch.bincount inspects the values of the labels, which forces a device sync.
        self.right.index_add_(0, labels, (logits.argmax(1) == labels).long())
        self.occurring.index_add_(0, labels, torch.ones_like(labels))

    def compute(self) -> Tensor:
        """The mean, between 0 and 1; NaN before the first sample."""
        recalls = self.right / self.occurring.clamp_min(1)
        return recalls.sum() / (self.occurring > 0).sum()


class RankingMetrics(Metric):
    """Metrics of `evaluation.metrics` that need the scores of all samples at once.

    Scores stay on the device until `compute`, which gathers the scores of all processes.

    Args:
        names: keys of `evaluation.metrics.METRICS`.
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
        """The metrics by name, between 0 and 1; all NaN if a logit is not finite."""
        logits = dim_zero_cat(self.logits).double().cpu()
        if not logits.isfinite().all():
            return {name: torch.tensor(torch.nan) for name in self.names}
        arrays = logits.softmax(1).numpy(), dim_zero_cat(self.labels).cpu().numpy(), np.ones((1, len(logits)))
        return {name: torch.tensor(float(METRICS[name](*arrays)[0])) for name in self.names}
