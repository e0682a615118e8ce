"""Backbones: image classifiers without their head, for any number of input channels."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from actionrec.networks.stem import STEMS, first_convolution, resize_first_convolution
from actionrec.networks.weights import IMAGENET_MEAN, IMAGENET_STD, in_uint8, load, normalisation
from actionrec.system.errors import ActionRecError

_LOOK = 224  # side of the picture that layers are looked up with, unless the network takes one size only


class Backbone(nn.Module):
    """A classifier whose last layer is taken off: (B, C, S, S) → (B, features).

    Args:
        network: the classifier without its head.
        features: width of its output.
        mean, std: of R, G and B, in units of uint8, that its weights were trained with.
        image_size: the only side of a picture that it takes; None where it takes several.
        chosen: whether the user has set `mean` or `std`.
    """

    def __init__(
        self,
        network: nn.Module,
        features: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        image_size: int | None = None,
        chosen: bool = False,
    ):
        super().__init__()
        self.network = network
        self.features = features
        self.mean, self.std = tuple(mean), tuple(std)
        self.image_size = image_size
        self.chosen = chosen
        self._last_maps: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def maps(self, x: Tensor) -> Tensor:
        """Last feature maps (B, C, H, W); for backbones that have some, see `last_maps`."""
        name = last_maps(self)
        assert name
        kept: list[Tensor] = []
        hook = self.get_submodule(name).register_forward_hook(lambda *call: kept.append(call[-1]))
        try:
            self.network(x)
        finally:
            hook.remove()
        return kept[-1]

    @torch.no_grad()
    def pools_maps(self) -> bool:
        """Whether the features are the mean of the last maps over their places."""
        if not last_maps(self):
            return False
        maps, features = _look(self, self.maps), _look(self, self)
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
            ones. timm models have `DEFAULT`; `efficientnet_lite0` has `DEFAULT`, which comes from a package.
        in_channels: channels of the input; 3 keeps the first convolution.
        stem: the first convolution of another number of channels: `inflate`d from the RGB weights, or `random`.
        mean, std: of R, G and B from 0 to 1, that pictures are normalised with; None for those that the weights were
            trained with. Random weights and files take those of the architecture's default weights.
        image_size: the side that a torchvision `vit` is built for; None for that of the weights.

    Raises:
        ActionRecError: there is no such backbone or weights, they cannot be had, or its stem takes no other channels.
    """
    if stem not in STEMS:
        raise ActionRecError(f"backbone.stem={stem}: use one of {', '.join(STEMS)}")
    network = load(name, weights, image_size)
    own_mean, own_std = normalisation(network, name, weights)
    backbone = Backbone(
        network,
        take_off_head(network),
        own_mean if mean is None else in_uint8("mean", mean),
        own_std if std is None else in_uint8("std", std),
        _fixed_size(network),
        chosen=mean is not None or std is not None,
    )
    first_convolution(network)  # it is shown, and maps are looked up with it; raises where there is none
    if in_channels != 3:
        resize_first_convolution(network, in_channels, stem)
    return backbone


@torch.no_grad()
def check_size(backbone: Backbone, name: str, size: int, channels: int) -> None:
    """Raise unless a backbone makes finite features (1, features) of a picture (1, channels, size, size).

    One picture in evaluation mode: it takes less time than a training step, and draws no random number.
    """
    weight = next(backbone.parameters())
    training = backbone.training
    try:
        features = backbone.eval()(weight.new_zeros(1, channels, size, size))
    except Exception as error:  # whatever a network makes of a size that it does not take
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
    """Name of the layer whose output (B, C, H, W) is the last that has places; None where no layer's has.

    For a transformer that is its first layer, the embedding of the patches. The output for a clip is (B, C, T, H, W).
    """
    if backbone._last_maps:
        return backbone._last_maps
    found: list[str] = []

    def note(name: str, layer: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(name)

    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in backbone.named_modules()]
    try:
        _look(backbone, backbone)
    finally:
        for hook in hooks:
            hook.remove()
    backbone._last_maps = found[-1] if found else None
    return backbone._last_maps


def check_maps(backbone: Backbone) -> None:
    """Raise unless the features are the mean of the last maps over their places."""
    if not backbone.pools_maps():
        raise ActionRecError(
            "model.fusion=conv needs backbones whose features are the mean of their last feature maps, such as "
            "resnet18; use another backbone or fusion"
        )


def _look(backbone: Backbone, see: Callable[[Tensor], Tensor]) -> Tensor:
    """What a backbone, or a part of it, makes of a picture in evaluation mode."""
    convolution = first_convolution(backbone)
    side = backbone.image_size or _LOOK
    picture = torch.linspace(-1, 1, side * side).view(1, 1, side, side).to(convolution.weight)
    training = backbone.training
    try:
        backbone.eval()
        return see(picture.repeat(1, convolution.in_channels, 1, 1))
    finally:
        backbone.train(training)


def take_off_head(network: nn.Module) -> int:
    """Replace the classification layer by the identity, in place; returns the number of features that reach it.

    timm says which layer that is. Where it is not the last one, or there are two (distilled DeiT), timm takes it off.
    """
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    name, head = layers[-1]
    timms: Any = network
    if hasattr(network, "get_classifier") and timms.get_classifier() is not head:
        timms.reset_classifier(0)
        return int(getattr(network, "head_hidden_size", None) or timms.num_features)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


def _fixed_size(network: nn.Module) -> int | None:
    """The only side of a picture that a network takes; None where it takes several."""
    if isinstance(network, torchvision.models.VisionTransformer):
        return int(network.image_size)
    settings = getattr(network, "pretrained_cfg", {})
    return int(settings["input_size"][-1]) if settings.get("fixed_input_size") else None
