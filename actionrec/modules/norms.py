"""Batch norms that do not learn, for data sets too small to estimate their statistics."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from actionrec.system.errors import ActionRecError

CHOICES = ("train", "partial", "frozen")


def held_norms(network: nn.Module, choice: str) -> list[nn.Module]:
    """The batch norms of a network that keep their statistics, scales and shifts.

    Args:
        network: whose backbones are modules called `backbone`.
        choice: `train` holds none; `partial` holds all but the first one of each backbone, which adapts to the new
            input (partial batch norm of TSN: Wang et al., ECCV 2016); `frozen` holds all.

    Raises:
        ActionRecError: there is no such choice.
    """
    if choice not in CHOICES:
        raise ActionRecError(f"model.batch_norm={choice}: use one of {', '.join(CHOICES)}")
    if choice == "train":
        return []
    first: set[str] = set()
    held: list[nn.Module] = []
    for name, module in network.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        backbone = name.partition("backbone.")[0]
        if choice == "partial" and backbone not in first:
            first.add(backbone)
        else:
            held.append(module)
    return held
