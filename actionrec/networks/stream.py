"""The network of one stream: normalisation, a backbone, and a linear head; or several such networks, averaged."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from actionrec.networks.backbone import Backbone
from actionrec.networks.precision import in_float32

PICTURE, VOLUME = 4, 5  # number of dimensions of a batch of pictures (B, C, S, S) and of clips (B, C, T, S, S)


class Stream(nn.Module):
    """Normalisation, a backbone, and a linear head: uint8 pictures, or features (B, F) → logits (B, classes).

    The constants of the normalisation belong to the weights, so they are buffers of the state dict. Logits are float32,
    also under autocast.

    Args:
        backbone: a backbone for C channels.
        classes: number of actions.
        mean, std: normalisation in units of the uint8 input: one value for all channels, or one value per channel.
        dropout: dropout probability of the features in training.
        dimensions: number of dimensions of an input batch: `PICTURE` (B, C, S, S) or `VOLUME` (B, C, T, S, S).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        dropout: float = 0.0,
        dimensions: int = PICTURE,
    ):
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.features, classes)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, *[1] * (dimensions - 2)))

    def embed(self, x: Tensor) -> Tensor:
        """Features (B, backbone.features) float32, with dropout in training.

        If x is already a feature vector (B, F), only the dropout is applied; frozen streams have no dropout.
        """
        return self.dropout(x if x.dim() == 2 else self.backbone(self._normalise(x)).float())

    def maps(self, x: Tensor) -> Tensor:
        """The backbone's last feature maps (B, backbone.features, H, W); for clips, their mean over time."""
        return self.backbone.maps(self._normalise(x))

    def forward(self, x: Tensor) -> Tensor:
        return in_float32(self.head, self.head.weight.dtype, self.embed(x))

    def _normalise(self, x: Tensor) -> Tensor:
        normal = (x - self.mean) / self.std
        return normal.contiguous(memory_format=torch.channels_last) if x.dim() == PICTURE else normal.contiguous()


class Bagged(Stream):
    """Networks of one stream, trained on different parts of the clips, whose probabilities are averaged.

    Bagging (Breiman, 1996), with the networks of cross-validation as in stacked generalisation. The logits are the
    logarithm of the mean probabilities. Features and maps, which the networks do not share, are those of the first one.

    Args:
        members: two networks or more, of the same layers.

    Attributes:
        whole: whether all members answer, or the first one alone, which was not trained on the validation clips.
    """

    def __init__(self, members: Sequence[Stream]):
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)
        self.whole = True

    @property
    def first(self) -> Stream:
        """The network of the run itself."""
        return self.members[0]  # type: ignore[return-value]

    @property
    def backbone(self) -> Backbone:  # type: ignore[override]
        return self.first.backbone

    @property
    def dropout(self) -> nn.Dropout:  # type: ignore[override]
        return self.first.dropout

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        return self.first.head

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        return self.first.mean

    @property
    def std(self) -> Tensor:  # type: ignore[override]
        return self.first.std

    def embed(self, x: Tensor) -> Tensor:
        return self.first.embed(x)

    def maps(self, x: Tensor) -> Tensor:
        return self.first.maps(x)

    def forward(self, x: Tensor) -> Tensor:
        if not self.whole:
            return self.first(x)
        logs = torch.stack([member(x).log_softmax(dim=1) for member in self.members])
        return logs.logsumexp(dim=0) - math.log(len(self.members))


def members_of(stream: Stream) -> list[Stream]:
    """The networks of a stream: one, or those of `Bagged`."""
    return list(stream.members) if isinstance(stream, Bagged) else [stream]  # type: ignore[arg-type]


def channels_last(network: nn.Module) -> None:
    """Convert the weights of 2-D convolutions to `channels_last`, the memory format of their inputs, in place.

    3-D convolutions keep their format: torch 2.14 trains r3d_18 more slowly in `channels_last_3d` on a CPU in float32.
    `to` is used since `contiguous` leaves the strides of 1×1 convolutions unchanged, for which torch chooses other
    kernels: resuming a run of earlier versions would not be bit-identical.
    """
    for weight in network.parameters():
        if weight.dim() == PICTURE:
            weight.data = weight.data.to(memory_format=torch.channels_last)
