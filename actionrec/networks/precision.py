"""Precision of the layers that decide."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor


def in_float32(compute: Callable[..., Tensor], dtype: torch.dtype, *inputs: Tensor) -> Tensor:
    """Output, in float32, of layers whose weights are of `dtype`, which they compute in also under autocast.

    A head under bf16 autocast would round logits between 4 and 8 to multiples of 1/32: ties become possible, and the
    same checkpoint has other scores on a machine without bf16.
    """
    kind = inputs[0].device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        return compute(*(each.to(dtype) for each in inputs)).float()
