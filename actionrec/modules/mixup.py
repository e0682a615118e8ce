"""Mixup (Zhang et al., ICLR 2018): training on weighted means of two samples."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Mixed(NamedTuple):
    """A batch whose inputs are means of two samples, with the share of the first one and the label of the other."""

    batch: dict[str, Any]
    share: Tensor
    other_labels: Tensor

    def loss(self, logits: Tensor, label_smoothing: float, class_weights: Tensor | None = None) -> Tensor:
        """Cross-entropy to the labels of both samples, weighted by their shares."""
        first, other = (
            F.cross_entropy(logits, labels, class_weights, label_smoothing=label_smoothing)
            for labels in (self.batch["label"], self.other_labels)
        )
        return self.share * first + (1 - self.share) * other


def mix(batch: dict[str, Any], streams: Iterable[str], alpha: float) -> Mixed:
    """Mix every sample with another one of the batch, all streams of a sample with the same one and the same share.

    Args:
        batch: a batch of the data modules.
        streams: keys of the inputs (B, C, S, S) uint8, which become float32 in units of uint8; their memory format
            stays.
        alpha: parameter of the symmetric beta distribution of the share, above 0.
    """
    # The share stays a tensor on the CPU, which a GPU takes without a sync.
    share = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
    share = torch.maximum(share, 1 - share)  # so that the label in the batch is that of the larger part
    order = torch.randperm(len(batch["label"]), device=batch["label"].device)
    inputs = {name: share * batch[name].float() + (1 - share) * batch[name][order].float() for name in streams}
    return Mixed({**batch, **inputs}, share, batch["label"][order])
