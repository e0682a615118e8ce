"""Networks of one stream and of two."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from actionrec.errors import ActionRecError
from actionrec.networks.backbone import Backbone

FUSIONS = ("concat", "concat_features", "average", "max")


class Stream(nn.Module):
    """Normalisation, a backbone, and a linear head: (B, C, S, S) uint8, or features (B, F) → logits (B, classes).

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
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def embed(self, x: Tensor) -> Tensor:
        """Features (B, backbone.features), with dropout in training; features that are given stay what they are."""
        if x.dim() == 2:
            return x
        normalised = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.dropout(self.backbone(normalised))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


class TwoStream(nn.Module):
    """Two streams and their fusion: frame (B, 3, S, S), flow (B, C, S, S) → logits (B, classes).

    `concat` is a linear layer on the logits of both, `concat_features` one on the features of both; each starts as the
    plain average of the two streams' logits (`start_as_average`) and learns to do better. `average` and `max` are of
    the streams' probabilities (Simonyan & Zisserman, NeurIPS 2014) and have nothing to learn.

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
        self.fusion = nn.Linear(widths[fusion], classes) if fusion in widths else None
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)
        if fusion == "concat_features":  # the heads only give the starting point
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
        if self.kind == "concat":
            identity = torch.eye(self.fusion.out_features)
            self.fusion.weight.copy_(torch.cat([identity, identity], dim=1) / 2)
            self.fusion.bias.zero_()
        else:
            self.fusion.weight.copy_(torch.cat([self.frame.head.weight, self.flow.head.weight], dim=1) / 2)
            self.fusion.bias.copy_((self.frame.head.bias + self.flow.head.bias) / 2)

    def forward(self, frame: Tensor, flow: Tensor) -> Tensor:
        if self.fusion and self.kind == "concat_features":
            return self.fusion(torch.cat([self.frame.embed(frame), self.flow.embed(flow)], dim=1))
        logits = self.frame(frame), self.flow(flow)
        if self.fusion:
            return self.fusion(torch.cat(logits, dim=1))
        a, b = (stream_logits.float().log_softmax(dim=1) for stream_logits in logits)
        return torch.logaddexp(a, b) - math.log(2) if self.kind == "average" else torch.maximum(a, b)
