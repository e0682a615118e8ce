"""The part of a network that a file holds: normalisation, the streams that are used, their heads and fusion."""

from torch import Tensor, nn

from actionrec.modules.base import ActionModule
from actionrec.networks.fusions import Gated
from actionrec.networks.stream import Stream
from actionrec.networks.streams import MultiStream


class Graph(nn.Module):
    """A module's network in evaluation mode and float32: uint8 inputs in the order of `names` → logits (B, K) float32.

    A gated fusion keeps only the streams with a weight, and its weights become constants: exporters cannot trace a
    decision that depends on the values of tensors.

    Args:
        module: with the weights of its checkpoint; changed in place.

    Attributes:
        names: streams of the inputs.
    """

    def __init__(self, module: ActionModule):
        super().__init__()
        network = module.float().eval().network
        self.names = list(module.streams)
        self.whole: MultiStream | Stream | None = network
        self.gate = None
        if isinstance(network, MultiStream) and isinstance(network.fusion, Gated):
            self.gate = network.fusion.constants(self.names)
            self.names = list(self.gate.names)
            self.used = nn.ModuleList(network.streams[name] for name in self.names)
            self.whole = None
        self.eval()  # exporters put a network back into the mode that its outermost module has

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.gate is None:
            assert self.whole is not None
            return self.whole(*inputs)
        return self.gate.combine([stream(each) for stream, each in zip(self.used, inputs, strict=True)])
