"""LightningModules of the frame, the flow and the two-stream network."""

from actionrec.modules.flow import FlowModule
from actionrec.modules.frame import FrameModule
from actionrec.modules.two_stream import TwoStreamModule

__all__ = ["FlowModule", "FrameModule", "TwoStreamModule"]
