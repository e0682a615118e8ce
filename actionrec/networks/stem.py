"""First convolutions for any number of input channels."""

from torch import Tensor, nn

from actionrec.system.errors import ActionRecError

STEMS = ("inflate", "random")


def inflate(weight: Tensor, in_channels: int) -> Tensor:
    """Weights (O, in_channels, K, K) of a first convolution from RGB weights (O, 3, K, K).

    The mean over RGB is repeated for all channels (cross-modality initialisation of TSN: Wang et al., ECCV 2016), and
    scaled by 3 / in_channels, so that the response to a constant input, and so the size of the activations, does not
    change.
    """
    mean = weight.mean(dim=1, keepdim=True)
    return mean.repeat(1, in_channels, 1, 1) * (weight.shape[1] / in_channels)


def resize_first_convolution(network: nn.Module, in_channels: int, stem: str) -> None:
    """Replace the weights of the first convolution by weights for `in_channels`, in place.

    Raises:
        ActionRecError: the first convolution is not a convolution of RGB.
    """
    convolution = first_convolution(network)
    if convolution.in_channels != 3 or convolution.groups != 1:
        raise ActionRecError(
            f"{type(network).__name__}: its first convolution takes {convolution.in_channels} channels, not RGB, "
            f"so it cannot be changed to {in_channels} channels; use another backbone.name"
        )
    if stem == "inflate":
        weight = inflate(convolution.weight.detach(), in_channels)
    else:
        old = convolution.weight
        weight = old.new_empty(old.shape[0], in_channels, *old.shape[2:])
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    convolution.weight = nn.Parameter(weight)
    convolution.in_channels = in_channels


def first_convolution(network: nn.Module) -> nn.Conv2d | nn.Conv3d:
    """The convolution of the input: weights (O, C, K, K) for pictures, (O, C, T, K, K) for clips."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            return module
    raise ActionRecError(f"{type(network).__name__} has no convolution that sees the image; use another backbone.name")
