"""Parts of a network that stay as they are in training: batch norms, and the first layers of the backbones."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from actionrec.system.errors import ActionRecError

MODES = ("train", "partial", "frozen")


def held_norms(network: nn.Module, mode: str) -> list[nn.Module]:
    """The batch norms of a network whose statistics, scales and shifts stay fixed during training.

    Args:
        network: a network whose backbones are modules called `backbone`.
        mode: `train` fixes no batch norm; `partial` fixes all but the first one of each backbone, which adapts to the
            new input (partial batch norm of TSN: Wang et al., ECCV 2016); `frozen` fixes all.

    Raises:
        ActionRecError: `mode` is none of `MODES`.
    """
    if mode not in MODES:
        raise ActionRecError(f"model.batch_norm={mode}: use one of {', '.join(MODES)}")
    if mode == "train":
        return []
    first: set[str] = set()
    held: list[nn.Module] = []
    for name, module in network.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        backbone = name.partition("backbone.")[0]
        if mode == "partial" and backbone not in first:
            first.add(backbone)
        else:
            held.append(module)
    return held


def first_layers(backbone: nn.Module, share: float) -> list[nn.Module]:
    """The first layers of a backbone, which in a pretrained network suit other pictures, too (Yosinski et al., 2014).

    Where no layer before them learns, the gradient of the layers is not computed either. Of a network with depthwise
    convolutions the first layers, whose feature maps are large, take most of a training step.

    Args:
        backbone: a network whose layers are registered in the order in which they are computed.
        share: of its layers with weights, from 0 to 1.
    """
    layers = [each for each in backbone.modules() if next(each.parameters(recurse=False), None) is not None]
    return layers[: round(share * len(layers))]
