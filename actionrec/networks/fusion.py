"""Networks of one stream and of two."""

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actionrec.networks.backbone import Backbone, check_maps
from actionrec.system.errors import ActionRecError

FUSIONS = ("concat", "concat_features", "conv", "average", "max")


def in_float32(layer: nn.Module, *inputs: Tensor) -> Tensor:
    """Output, in float32, of a layer that computes in the type of its weights, also under autocast.

    A head under bf16 autocast would round logits between 4 and 8 to multiples of 1/32: ties become possible, and the
    same checkpoint has other scores on a machine without bf16.
    """
    kind = inputs[0].device.type
    own = next(layer.parameters()).dtype
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        return layer(*(each.to(own) for each in inputs)).float()


class Stream(nn.Module):
    """Normalisation, a backbone, and a linear head: (B, C, S, S) uint8, or features (B, F) → logits (B, classes).

    The normalisation belongs to the weights, so its constants are buffers of the state dict. Logits are float32, also
    under autocast.

    Args:
        backbone: takes C channels.
        classes: number of actions.
        mean, std: of a channel, in units of the uint8 input; one for all channels, or one for each.
        dropout: of the features, in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Backbone, classes: int, mean: Sequence[float], std: Sequence[float], dropout: float = 0.0
    ):
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.features, classes)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def embed(self, x: Tensor) -> Tensor:
        """Features (B, backbone.features) float32, with dropout in training.

        If `x` already holds features (B, F), they are returned as they are.
        """
        if x.dim() == 2:
            return x
        return self.dropout(self.backbone(self._normalise(x)).float())

    def maps(self, x: Tensor) -> Tensor:
        """The backbone's last feature maps (B, backbone.features, H, W)."""
        return self.backbone.maps(self._normalise(x))

    def forward(self, x: Tensor) -> Tensor:
        return in_float32(self.head, self.embed(x))

    def _normalise(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class ConvFusion(nn.Module):
    """Last feature maps of both streams, concatenated and mixed by a 1×1 convolution → logits (B, classes).

    The convolutional fusion of Feichtenhofer et al. (CVPR 2016), but for keeping all channels, where they keep half:
    so it can start as the average of streams whose maps are not negative, as the other learned fusions do.

    Args:
        features: channels of both together.
        classes: number of actions.
        dropout: of the mixed features, in training.
    """

    def __init__(self, features: int, classes: int, dropout: float):
        super().__init__()
        self.mix = nn.Conv2d(features, features, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, frame: Tensor, flow: Tensor) -> Tensor:
        mixed = F.relu(self.mix(torch.cat([frame, flow], dim=1)))
        return self.head(self.dropout(mixed.mean((2, 3))))


class TwoStream(nn.Module):
    """Two streams and their fusion: frame (B, 3, S, S), flow (B, C, S, S) → logits (B, classes) float32.

    `concat` is a linear layer on the logits of both, `concat_features` one on the features of both, `conv` is of their
    feature maps, see `ConvFusion`; each starts as the plain average of the two streams' logits (`start_as_average`) and
    learns to do better. `average` and `max` are of the streams' probabilities (Simonyan & Zisserman, NeurIPS 2014) and
    have nothing to learn.

    Args:
        frame: stream of the frame.
        flow: stream of the flow stack.
        classes: number of actions.
        fusion: one of `FUSIONS`.
        frozen: streams (`frame`, `flow`) that do not learn: no gradients, and always in evaluation mode.
    """

    def __init__(self, frame: Stream, flow: Stream, classes: int, fusion: str, frozen: Sequence[str] = ()):
        super().__init__()
        if fusion not in FUSIONS:
            raise ActionRecError(f"model.fusion={fusion}: use one of {', '.join(FUSIONS)}")
        if unknown := set(frozen) - {"frame", "flow"}:
            raise ActionRecError(f"model.frozen={list(frozen)}: {unknown.pop()} is not a stream; use frame and flow")
        self.frame = frame
        self.flow = flow
        self.kind = fusion
        self.frozen = tuple(frozen)
        widths = {"concat": 2 * classes, "concat_features": frame.backbone.features + flow.backbone.features}
        self.fusion: nn.Linear | ConvFusion | None = None
        if fusion == "conv":
            for stream in (frame, flow):
                check_maps(stream.backbone)
            self.fusion = ConvFusion(widths["concat_features"], classes, frame.dropout.p)
        elif fusion in widths:
            self.fusion = nn.Linear(widths[fusion], classes)
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)
        if fusion in ("concat_features", "conv"):  # the heads only give the starting point
            frame.head.requires_grad_(False)
            flow.head.requires_grad_(False)
        self.start_as_average()
        self.train()  # Lightning does not call it before the first epoch, and frozen streams must be out of it then

    def train(self, mode: bool = True) -> "TwoStream":
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    @torch.no_grad()
    def start_as_average(self) -> None:
        """Set the fusion layer to the average of the two streams' logits, with the heads that they have now."""
        if self.fusion is None:
            return
        layer = self.fusion.head if isinstance(self.fusion, ConvFusion) else self.fusion
        if self.kind == "concat":
            identity = torch.eye(layer.out_features)
            layer.weight.copy_(torch.cat([identity, identity], dim=1) / 2)
            layer.bias.zero_()
        else:
            layer.weight.copy_(torch.cat([self.frame.head.weight, self.flow.head.weight], dim=1) / 2)
            layer.bias.copy_((self.frame.head.bias + self.flow.head.bias) / 2)
        if isinstance(self.fusion, ConvFusion):
            nn.init.dirac_(self.fusion.mix.weight)
            self.fusion.mix.bias.zero_()  # type: ignore[union-attr]

    def forward(self, frame: Tensor, flow: Tensor) -> Tensor:
        if isinstance(self.fusion, ConvFusion):
            return in_float32(self.fusion, self.frame.maps(frame), self.flow.maps(flow))
        if self.fusion and self.kind == "concat_features":
            return in_float32(self.fusion, torch.cat([self.frame.embed(frame), self.flow.embed(flow)], dim=1))
        logits = self.frame(frame), self.flow(flow)
        if self.fusion:
            return in_float32(self.fusion, torch.cat(logits, dim=1))
        a, b = (stream_logits.log_softmax(dim=1) for stream_logits in logits)
        return torch.logaddexp(a, b) - math.log(2) if self.kind == "average" else torch.maximum(a, b)
