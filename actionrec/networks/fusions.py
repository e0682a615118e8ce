"""Fusions: how a network of several streams decides, one class each.

`concat`, `concat_features` and `conv` learn; each starts as the plain average of the streams' logits and learns to do
better. `average` and `max` are of the streams' probabilities (Simonyan & Zisserman, NeurIPS 2014) and have nothing to
learn.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from actionrec.networks.backbone import check_maps
from actionrec.networks.precision import in_float32
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:
    from actionrec.networks.streams import Stream

Streams = Mapping[str, "Stream"]


class Fusion(nn.Module):
    """What streams see of a batch, by name → logits (B, classes) float32.

    The streams are arguments and no submodules, since the network holds them under their own names.

    Attributes:
        uses_heads: whether the answer depends on the streams' heads after `start`.
        takes_features: whether features (B, F) may stand for what a stream sees.
    """

    uses_heads: ClassVar[bool] = True
    takes_features: ClassVar[bool] = True

    @abstractmethod
    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor: ...

    def start(self, streams: Streams) -> None:
        """Set the weights, if there are any, to the average of the streams' logits, with the heads that they have."""
        return

    def deciding_layers(self, streams: Streams) -> list[nn.Module]:
        """The layers whose inputs, side by side, are the features that the fusion decides by in evaluation."""
        return [stream.dropout for stream in streams.values()]


class _Linear(Fusion, nn.Linear):  # type: ignore[misc]
    """A linear layer, whose weights are the fusion's own."""

    def decide(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of what the streams say, side by side (B, in_features)."""
        return in_float32(lambda each: F.linear(each, self.weight, self.bias), self.weight.dtype, x)


class Concat(_Linear):
    """A linear layer on the logits of all streams."""

    def __init__(self, streams: Streams, classes: int):
        nn.Linear.__init__(self, len(streams) * classes, classes)

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        return self.decide(torch.cat([streams[name](each) for name, each in inputs.items()], dim=1))

    @torch.no_grad()
    def start(self, streams: Streams) -> None:
        self.weight.copy_(torch.cat([torch.eye(self.out_features)] * len(streams), dim=1) / len(streams))
        self.bias.zero_()


class ConcatFeatures(_Linear):
    """A linear layer on the features of all streams; their heads only give the starting point."""

    uses_heads = False

    def __init__(self, streams: Streams, classes: int):
        nn.Linear.__init__(self, sum(stream.backbone.features for stream in streams.values()), classes)

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        return self.decide(torch.cat([streams[name].embed(each) for name, each in inputs.items()], dim=1))

    def start(self, streams: Streams) -> None:
        _start_as_average(self, streams)


class Conv(Fusion):
    """Last feature maps of all streams, concatenated and mixed by a 1×1 convolution.

    The convolutional fusion of Feichtenhofer et al. (CVPR 2016), but for keeping all channels, where they keep half:
    so it can start as the average of streams whose maps are not negative, as the other learned fusions do.

    Raises:
        ActionRecError: the features of a backbone are not the mean of its maps, or the maps differ in size.
    """

    uses_heads = False
    takes_features = False

    def __init__(self, streams: Streams, classes: int):
        super().__init__()
        for stream in streams.values():
            check_maps(stream.backbone)
        features = sum(stream.backbone.features for stream in streams.values())
        self.mix = nn.Conv2d(features, features, 1)
        self.dropout = nn.Dropout(next(iter(streams.values())).dropout.p)
        self.head = nn.Linear(features, classes)

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:
        maps = {name: streams[name].maps(each) for name, each in inputs.items()}
        sizes = {name: "×".join(map(str, each.shape[2:])) for name, each in maps.items()}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise ActionRecError(f"model.fusion=conv needs feature maps of one size, these are {said}; use another")
        return self.decide(torch.cat(list(maps.values()), dim=1))

    def decide(self, maps: Tensor) -> Tensor:
        """Logits (B, classes) of the streams' maps, side by side (B, features, H, W)."""
        return in_float32(self._decide, self.mix.weight.dtype, maps)

    def _decide(self, maps: Tensor) -> Tensor:
        return self.head(self.dropout(F.relu(self.mix(maps)).mean((2, 3))))

    def start(self, streams: Streams) -> None:
        nn.init.dirac_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        _start_as_average(self.head, streams)

    def deciding_layers(self, streams: Streams) -> list[nn.Module]:
        return [self.dropout]


class Average(Fusion):
    """The mean of the streams' probabilities, as log-probabilities."""

    def __init__(self, streams: Streams, classes: int):
        super().__init__()

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:
        return reduce(torch.logaddexp, _log_probabilities(streams, inputs)) - math.log(len(inputs))


class Max(Fusion):
    """The largest of the streams' probabilities of each action, as logarithms."""

    def __init__(self, streams: Streams, classes: int):
        super().__init__()

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:
        return reduce(torch.maximum, _log_probabilities(streams, inputs))


FUSIONS: dict[str, type[Fusion]] = {
    "concat": Concat,
    "concat_features": ConcatFeatures,
    "conv": Conv,
    "average": Average,
    "max": Max,
}


def create(fusion: str | Mapping[str, Any], streams: Streams, classes: int) -> Fusion:
    """The fusion of that name for streams, which has not started yet.

    Args:
        fusion: one of `FUSIONS`, or a class by its full name under `_target_`, with its arguments beside it.
        streams: by name.
        classes: number of actions.

    Raises:
        ActionRecError: there is no such fusion, or the streams do not suit it.
    """
    if isinstance(fusion, Mapping):
        made = instantiate(fusion, streams, classes, _recursive_=False)
        if not isinstance(made, Fusion):
            raise ActionRecError(
                f"model.fusion={dict(fusion)}: derive its class from actionrec.networks.fusions.Fusion"
            )
        return made
    if fusion not in FUSIONS:
        raise ActionRecError(f"model.fusion={fusion}: use one of {', '.join(FUSIONS)}, or {{_target_: …}}")
    return FUSIONS[fusion](streams, classes)


def _log_probabilities(streams: Streams, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    return [streams[name](each).log_softmax(dim=1) for name, each in inputs.items()]


@torch.no_grad()
def _start_as_average(layer: nn.Linear, streams: Streams) -> None:
    """Set a layer on the features of all streams to the average of the streams' logits."""
    heads = [stream.head for stream in streams.values()]
    layer.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
    layer.bias.copy_(torch.stack([head.bias for head in heads]).mean(0))
