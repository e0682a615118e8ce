"""Backbones: image classifiers without their classification layer, for any number of input channels."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from actionrec.networks.stem import STEMS, first_convolution, resize_first_convolution
from actionrec.networks.weights import IMAGENET_MEAN, IMAGENET_STD, in_uint8, load, normalisation
from actionrec.system.errors import ActionRecError

_PROBE_SIDE = 224  # side of the dummy input used to probe layer shapes; networks of one fixed size are probed with it


class Backbone(nn.Module):
    """A classifier without its classification layer: (B, C, S, S) → (B, features).

    Args:
        network: the classifier without its head.
        features: width of the output.
        mean, std: normalisation of R, G and B for these weights, in units of uint8.
        image_size: input side in pixels, if the network accepts one size only; otherwise None.
        custom_constants: whether the user has set `mean` or `std`.
    """

    def __init__(
        self,
        network: nn.Module,
        features: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        image_size: int | None = None,
        custom_constants: bool = False,
    ):
        super().__init__()
        self.network = network
        self.features = features
        self.mean, self.std = tuple(mean), tuple(std)
        self.image_size = image_size
        self.custom_constants = custom_constants
        self._last_maps: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def maps(self, x: Tensor) -> Tensor:
        """Last feature maps (B, C, H, W); only for backbones with feature maps, see `last_maps`."""
        name = last_maps(self)
        assert name
        outputs: list[Tensor] = []
        hook = self.get_submodule(name).register_forward_hook(lambda *call: outputs.append(call[-1]))
        try:
            self.network(x)
        finally:
            hook.remove()
        return outputs[-1]

    @torch.no_grad()
    def pools_maps(self) -> bool:
        """Whether the features are the spatial mean of the last feature maps (global average pooling)."""
        if not last_maps(self):
            return False
        maps, features = _probe(self, self.maps), _probe(self, self)
        return maps.shape[1] == self.features and torch.allclose(maps.mean((2, 3)), features, rtol=1e-3, atol=1e-5)


def create(
    name: str,
    weights: str | None,
    in_channels: int = 3,
    stem: str = "inflate",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
) -> Backbone:
    """Create a backbone.

    Args:
        name: a torchvision classifier (`resnet18`), a timm one (`timm:NAME`), or `efficientnet_lite0`.
        weights: a torchvision weights name (`IMAGENET1K_V1`, `DEFAULT`), the file of a state dict, or None for random
            weights. timm models have `DEFAULT`; `DEFAULT` of `efficientnet_lite0` is in a pip package.
        in_channels: channels of the input; 3 keeps the first convolution.
        stem: weights of a first convolution for other than 3 channels: `inflate` from the RGB weights, or `random`.
        mean, std: normalisation of R, G and B, from 0 to 1; None takes the constants that the weights were trained
            with. Random weights and files take the constants of the architecture's default weights.
        image_size: input side for which a torchvision `vit` is built; None takes the side of the weights.

    Raises:
        ActionRecError: the backbone or the weights do not exist, the weights cannot be downloaded, or the first
            convolution cannot be changed to `in_channels`.
    """
    if stem not in STEMS:
        raise ActionRecError(f"backbone.stem={stem}: use one of {', '.join(STEMS)}")
    network = load(name, weights, image_size)
    own_mean, own_std = normalisation(network, name, weights)
    backbone = Backbone(
        network,
        remove_head(network),
        own_mean if mean is None else in_uint8("mean", mean),
        own_std if std is None else in_uint8("std", std),
        _fixed_size(network),
        custom_constants=mean is not None or std is not None,
    )
    first_convolution(network)  # raises if there is none: filter plots and the lookup of feature maps need it
    if in_channels != 3:
        resize_first_convolution(network, in_channels, stem)
    return backbone


@torch.no_grad()
def check_size(backbone: Backbone, name: str, size: int, channels: int) -> None:
    """Raise unless a backbone maps a picture (1, channels, size, size) to finite features (1, features).

    One picture in evaluation mode costs less than a training step and does not advance the random generators.
    """
    weight = next(backbone.parameters())
    training = backbone.training
    try:
        features = backbone.eval()(weight.new_zeros(1, channels, size, size))
    except Exception as error:  # networks raise many kinds of exceptions for an unsuitable size
        other = f"use data.size={backbone.image_size} or" if backbone.image_size else "use a larger data.size or"
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ActionRecError(
            f"backbone.name={name} does not take data.size={size} with {channels} channels ({reason:.120}); "
            f"{other if size != backbone.image_size else 'use'} another backbone.name"
        ) from None
    finally:
        backbone.train(training)
    if not isinstance(features, Tensor) or features.shape != (1, backbone.features):
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ActionRecError(
            f"backbone.name={name} gives {shape} of a picture of data.size={size}, not (1, {backbone.features}) "
            "features; use another backbone"
        )
    if not features.is_meta and not bool(features.isfinite().all()):
        raise ActionRecError(f"backbone.name={name} gives features that are not finite; use other backbone.weights")


@torch.no_grad()
def last_maps(backbone: Backbone) -> str | None:
    """Name of the last layer whose output (B, C, H, W) has spatial dimensions; None if there is no such layer.

    In a transformer this is the first layer, the patch embedding. Video backbones give (B, C, T, H, W).
    """
    if backbone._last_maps:
        return backbone._last_maps
    found: list[str] = []

    def note(name: str, layer: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(name)

    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in backbone.named_modules()]
    try:
        _probe(backbone, backbone)
    finally:
        for hook in hooks:
            hook.remove()
    backbone._last_maps = found[-1] if found else None
    return backbone._last_maps


def check_maps(backbone: Backbone) -> None:
    """Raise unless the features are the spatial mean of the last feature maps."""
    if not backbone.pools_maps():
        raise ActionRecError(
            "model.fusion=conv needs backbones whose features are the mean of their last feature maps, such as "
            "resnet18; use another backbone or fusion"
        )


def _probe(backbone: Backbone, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Output of `function`, a backbone or a part of it, for a dummy picture in evaluation mode."""
    convolution = first_convolution(backbone)
    side = backbone.image_size or _PROBE_SIDE
    picture = torch.linspace(-1, 1, side * side).view(1, 1, side, side).to(convolution.weight)
    training = backbone.training
    try:
        backbone.eval()
        return function(picture.repeat(1, convolution.in_channels, 1, 1))
    finally:
        backbone.train(training)


def remove_head(network: nn.Module) -> int:
    """Replace the classification layer by the identity, in place; returns the number of its input features.

    The classification layer is the last linear or convolution layer. If timm names another layer or two layers
    (distilled DeiT), timm's `reset_classifier` removes them.
    """
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    name, head = layers[-1]
    timm_model: Any = network
    if hasattr(network, "get_classifier") and timm_model.get_classifier() is not head:
        timm_model.reset_classifier(0)
        return int(getattr(network, "head_hidden_size", None) or timm_model.num_features)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


def _fixed_size(network: nn.Module) -> int | None:
    """The input side of a network that accepts one size only; None for other networks."""
    if isinstance(network, torchvision.models.VisionTransformer):
        return int(network.image_size)
    settings = getattr(network, "pretrained_cfg", {})
    return int(settings["input_size"][-1]) if settings.get("fixed_input_size") else None
