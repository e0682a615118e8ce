"""Named data modules for common pairs of data set and streams; `create` of this package chooses among them."""

from actionrec.datamodules.clips import ClipDataModule
from actionrec.datamodules.stills import StillDataModule


class Stanford40FrameDataModule(StillDataModule):
    """Stanford40: `frame` (B, 3, S, S) uint8."""


class HMDB51FrameDataModule(ClipDataModule):
    """One frame of each clip of HMDB51: `frame` (B, 3, S, S) uint8."""


class HMDB51FlowDataModule(ClipDataModule):
    """A stack of flow of each clip of HMDB51: `flow` (B, C, S, S) uint8."""


class HMDB51TwoStreamDataModule(ClipDataModule):
    """The frame and the flow of each clip of HMDB51 at one instant under one view: `frame` and `flow`."""


class UCF101FrameDataModule(ClipDataModule):
    """One frame of each clip of UCF101: `frame` (B, 3, S, S) uint8."""


class UCF101FlowDataModule(ClipDataModule):
    """A stack of flow of each clip of UCF101: `flow` (B, C, S, S) uint8."""


class UCF101TwoStreamDataModule(ClipDataModule):
    """The frame and the flow of each clip of UCF101 at one instant under one view: `frame` and `flow`."""


class JHMDBFrameDataModule(ClipDataModule):
    """One frame of each clip of J-HMDB: `frame` (B, 3, S, S) uint8."""


class JHMDBFlowDataModule(ClipDataModule):
    """A stack of flow of each clip of J-HMDB: `flow` (B, C, S, S) uint8."""


class JHMDBTwoStreamDataModule(ClipDataModule):
    """The frame and the flow of each clip of J-HMDB at one instant under one view: `frame` and `flow`."""


class FolderFrameDataModule(ClipDataModule):
    """One frame of each clip of a user's own clips: `frame` (B, 3, S, S) uint8."""


class FolderFlowDataModule(ClipDataModule):
    """A stack of flow of each clip of a user's own clips: `flow` (B, C, S, S) uint8."""


class FolderTwoStreamDataModule(ClipDataModule):
    """The frame and the flow of each clip of a user's own clips at one instant under one view: `frame` and `flow`."""
