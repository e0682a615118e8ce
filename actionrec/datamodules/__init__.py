"""LightningDataModules, one for each data set and modality."""

from actionrec.datamodules.hmdb51 import HMDB51FlowDataModule, HMDB51FrameDataModule, HMDB51TwoStreamDataModule
from actionrec.datamodules.stanford40 import Stanford40FrameDataModule

__all__ = [
    "HMDB51FlowDataModule",
    "HMDB51FrameDataModule",
    "HMDB51TwoStreamDataModule",
    "Stanford40FrameDataModule",
]
