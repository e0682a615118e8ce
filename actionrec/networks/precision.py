"""Precision of classification layers under autocast."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor


def in_float32(compute: Callable[..., Tensor], dtype: torch.dtype, *inputs: Tensor) -> Tensor:
    """Run `compute` with autocast off and inputs of `dtype`, the dtype of its weights; returns float32.

    A head under bf16 autocast would round logits between 4 and 8 to multiples of 1/32: ties become possible, and the
    scores of one checkpoint would differ between machines with and without bf16.
    """
    kind = inputs[0].device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        return compute(*(each.to(dtype) for each in inputs)).float()
