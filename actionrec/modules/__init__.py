"""LightningModules of one stream and of several."""

from actionrec.modules.named import FlowModule, FrameModule, TwoStreamModule, create
from actionrec.modules.streams import MultiStreamModule, StreamModule

__all__ = ["FlowModule", "FrameModule", "MultiStreamModule", "StreamModule", "TwoStreamModule", "create"]
