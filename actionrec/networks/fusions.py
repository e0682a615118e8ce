"""Fusion layers, which combine several streams into one prediction, one class each.

`concat`, `concat_features` and `conv` are trained, and are initialised as the average of the streams' logits.
`average`, `product` and `max` combine the streams' probabilities (Simonyan & Zisserman, NeurIPS 2014, average them; the
rules are those of Kittler et al., TPAMI 1998) and have no parameters.
`gated` has the few numbers that `evaluation.gate` chooses.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from actionrec.networks.backbone import check_maps
from actionrec.networks.precision import in_float32
from actionrec.networks.stream import Stream
from actionrec.system.errors import ActionRecError

Streams = Mapping[str, Stream]


class Fusion(nn.Module):
    """A fusion layer: inputs of the streams, by stream name → logits (B, classes) float32.

    The streams are arguments and not submodules, since the network registers them under their own names.

    Attributes:
        uses_heads: whether the logits depend on the streams' heads after `start`.
        takes_features: whether the input of a stream may be precomputed features (B, F).
        is_gate: whether the fusion is fitted to scores of clips that no network was trained on, see `evaluation.gate`.
    """

    uses_heads: ClassVar[bool] = True
    takes_features: ClassVar[bool] = True
    is_gate: ClassVar[bool] = False

    @abstractmethod
    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor: ...

    def used(self, names: Sequence[str]) -> list[str]:
        """Those of the streams that the logits depend on; the inputs of the other streams may be left out."""
        return list(names)

    def start(self, streams: Streams) -> None:
        """Initialise the weights, if any, so that the output is the average of the current logits of the streams."""
        return

    def deciding_layers(self, streams: Streams) -> list[nn.Module]:
        """The layers whose concatenated inputs are the features behind the logits in evaluation."""
        return [stream.dropout for stream in streams.values()]


class OfLogits(Fusion):
    """A fusion of the streams' logits."""

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.combine({name: streams[name](inputs[name]) for name in self.used(list(inputs))})

    @abstractmethod
    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, classes) of the logits (B, classes) of the streams, in their order."""


class _Linear(Fusion, nn.Linear):  # type: ignore[misc]
    """A fusion that is a linear layer itself, so that its parameters are `fusion.weight` and `fusion.bias`."""

    def decide(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of the concatenated outputs of the streams (B, in_features)."""
        return in_float32(lambda each: F.linear(each, self.weight, self.bias), self.weight.dtype, x)


class Concat(OfLogits, _Linear):  # type: ignore[misc]
    """A linear layer on the logits of all streams."""

    def __init__(self, streams: Streams, classes: int):
        nn.Linear.__init__(self, len(streams) * classes, classes)

    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        return self.decide(torch.cat(list(logits.values()), dim=1))

    @torch.no_grad()
    def start(self, streams: Streams) -> None:
        self.weight.copy_(torch.cat([torch.eye(self.out_features)] * len(streams), dim=1) / len(streams))
        self.bias.zero_()


class ConcatFeatures(_Linear):
    """A linear layer on the features of all streams; the streams' heads only initialise its weights."""

    uses_heads = False

    def __init__(self, streams: Streams, classes: int):
        nn.Linear.__init__(self, sum(stream.backbone.features for stream in streams.values()), classes)

    def forward(self, streams: Streams, inputs: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        return self.decide(torch.cat([streams[name].embed(each) for name, each in inputs.items()], dim=1))

    def start(self, streams: Streams) -> None:
        _start_as_average(self, streams)


class Conv(Fusion):
    """The concatenated last feature maps of all streams, mixed by a 1×1 convolution.

    This is the convolutional fusion of Feichtenhofer et al. (CVPR 2016), except that the convolution keeps all channels
    instead of half of them. So it can be initialised as the average of the streams, like the other trained fusions, if
    the feature maps are not negative.

    Raises:
        ActionRecError: the features of a backbone are not the mean of its feature maps, or the maps differ in size.
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
            listed = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise ActionRecError(
                f"model.fusion=conv needs feature maps of one size, these are {listed}; use another model.fusion"
            )
        return self.decide(torch.cat(list(maps.values()), dim=1))

    def decide(self, maps: Tensor) -> Tensor:
        """Logits (B, classes) of the concatenated feature maps of the streams (B, features, H, W)."""
        return in_float32(self._decide, self.mix.weight.dtype, maps)

    def _decide(self, maps: Tensor) -> Tensor:
        return self.head(self.dropout(F.relu(self.mix(maps)).mean((2, 3))))

    def start(self, streams: Streams) -> None:
        nn.init.dirac_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        _start_as_average(self.head, streams)

    def deciding_layers(self, streams: Streams) -> list[nn.Module]:
        return [self.dropout]


class Average(OfLogits):
    """The mean of the streams' probabilities, as log-probabilities."""

    def __init__(self, streams: Streams, classes: int):
        super().__init__()

    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        return reduce(torch.logaddexp, _log_probabilities(logits)) - math.log(len(logits))


class Product(OfLogits):
    """The product of the streams' probabilities for each action, as log-probabilities (not normalised)."""

    def __init__(self, streams: Streams, classes: int):
        super().__init__()

    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        return reduce(torch.add, _log_probabilities(logits))


class Max(OfLogits):
    """The maximum of the streams' probabilities for each action, as log-probabilities (not normalised)."""

    def __init__(self, streams: Streams, classes: int):
        super().__init__()

    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        return reduce(torch.maximum, _log_probabilities(logits))


class GateConstants(NamedTuple):
    """The streams that a gate uses, as Python's numbers.

    Args:
        names: of the streams with a weight.
        weights, temperatures: of these streams.
        mixes: whether their probabilities are mixed; otherwise their log-probabilities are summed.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    temperatures: tuple[float, ...]
    mixes: bool

    def combine(self, logits: Sequence[Tensor]) -> Tensor:
        """Log-probabilities (B, classes), up to a constant for each sample, of the logits of each stream."""
        parts = []
        for each, weight, temperature in zip(logits, self.weights, self.temperatures, strict=True):
            seen = (each / temperature).log_softmax(dim=1)
            parts.append(seen + math.log(weight) if self.mixes else seen * weight)
        return reduce(torch.logaddexp if self.mixes else torch.add, parts)


class Gated(OfLogits):
    """The streams' log-probabilities, combined as `evaluation.gate.Gate` says; a stream of weight 0 is not computed.

    Before it is fitted, the fusion is the average of the streams' probabilities. The logits are log-probabilities up to
    a constant for each sample.
    """

    is_gate = True
    weights: Tensor
    temperatures: Tensor
    mixes: Tensor

    def __init__(self, streams: Streams, classes: int):
        super().__init__()
        self.names = tuple(streams)
        self.register_buffer("weights", torch.full((len(streams),), 1 / len(streams)))
        self.register_buffer("temperatures", torch.ones(len(streams)))
        self.register_buffer("mixes", torch.tensor(True))

    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        constants = self.constants(self.names)
        return constants.combine([logits[name] for name in constants.names])

    def constants(self, names: Sequence[str]) -> GateConstants:
        """The gate's numbers for the used ones of the streams `names`; on a GPU, a sync."""
        rows = zip(names, self.weights.tolist(), self.temperatures.tolist(), strict=True)
        used, weights, temperatures = zip(*(row for row in rows if row[1]), strict=True)
        return GateConstants(used, weights, temperatures, bool(self.mixes))

    def used(self, names: Sequence[str]) -> list[str]:
        return list(self.constants(names).names)


FUSION_LAYERS: dict[str, type[Fusion]] = {
    "concat": Concat,
    "concat_features": ConcatFeatures,
    "conv": Conv,
    "average": Average,
    "product": Product,
    "max": Max,
    "gated": Gated,
}


def create(fusion: str | Mapping[str, Any], streams: Streams, classes: int) -> Fusion:
    """Create the fusion layer for these streams; the caller initialises it by `Fusion.start`.

    Args:
        fusion: one of `FUSION_LAYERS`, or a class by its full name under `_target_`, with its arguments beside it.
        streams: by name.
        classes: number of actions.

    Raises:
        ActionRecError: there is no such fusion, or the streams do not fit it.
    """
    if isinstance(fusion, Mapping):
        made = instantiate(fusion, streams, classes, _recursive_=False)
        if not isinstance(made, Fusion):
            raise ActionRecError(
                f"model.fusion={dict(fusion)}: derive its class from actionrec.networks.fusions.Fusion"
            )
        return made
    if fusion not in FUSION_LAYERS:
        raise ActionRecError(f"model.fusion={fusion}: use one of {', '.join(FUSION_LAYERS)}, or {{_target_: …}}")
    return FUSION_LAYERS[fusion](streams, classes)


def _log_probabilities(logits: Mapping[str, Tensor]) -> list[Tensor]:
    return [each.log_softmax(dim=1) for each in logits.values()]


@torch.no_grad()
def _start_as_average(layer: nn.Linear, streams: Streams) -> None:
    """Initialise a layer on the concatenated features so that its output is the average of the streams' logits."""
    heads = [stream.head for stream in streams.values()]
    layer.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
    layer.bias.copy_(torch.stack([head.bias for head in heads]).mean(0))
