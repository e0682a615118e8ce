"""The network of several streams and their fusion."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from actionrec.networks import fusions
from actionrec.networks.stream import Stream
from actionrec.system.errors import ActionRecError


class MultiStream(nn.Module):
    """Several streams and a fusion layer: the inputs of the streams, in their order → logits (B, classes) float32.

    Args:
        streams: two or more streams by name.
        classes: number of actions.
        fusion: see `fusions.create`.
        frozen: names of streams that are not trained: they have no gradients and stay in evaluation mode.

    Raises:
        ActionRecError: there is no such fusion or stream, the backbones do not fit the fusion, or an attribute of the
            network already has a stream's name.
    """

    fusion: fusions.Fusion

    def __init__(
        self,
        streams: Mapping[str, Stream],
        classes: int,
        fusion: str | Mapping[str, Any],
        frozen: Sequence[str] = (),
    ):
        super().__init__()
        if len(streams) < 2:
            raise ActionRecError(f"a fusion of {', '.join(streams) or 'no stream'}: choose two streams or more")
        if unknown := [name for name in frozen if name not in streams]:
            raise ActionRecError(
                f"model.frozen={list(frozen)}: {unknown[0]} is not a stream; use {' and '.join(streams)}"
            )
        for name, stream in streams.items():
            if name in ("fusion", "names", "frozen", *vars(self)) or hasattr(type(self), name):
                raise ActionRecError(f"a stream cannot be called {name}, as a part of the network is; rename it")
            self.add_module(name, stream)
        self.names = tuple(streams)
        self.frozen = tuple(frozen)
        self.fusion = fusions.create(fusion, streams, classes)
        for name in frozen:
            streams[name].requires_grad_(False)
        if not self.fusion.uses_heads:
            for stream in streams.values():
                stream.head.requires_grad_(False)
        self.start_as_average()
        self.train()  # puts frozen streams into evaluation mode; Lightning does not call train() before the first epoch

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams by name, in the order of the network's inputs."""
        return {name: self.get_submodule(name) for name in self.names}  # type: ignore[misc]

    def train(self, mode: bool = True) -> "MultiStream":
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    @property
    def used(self) -> list[str]:
        """Names of the streams that the logits depend on, see `fusions.Fusion.used`."""
        return self.fusion.used(self.names)

    def start_as_average(self) -> None:
        """Initialise a trained fusion as the average of the current logits of the streams."""
        self.fusion.start(self.streams)

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """See the class; the input of a stream that is not `used` may be None."""
        return self.fusion(self.streams, dict(zip(self.names, inputs, strict=True)))
