"""Stanford40 stills as batches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actionrec.datamodules.base import ActionDataModule
from actionrec.datamodules.samples import StillDataset
from actionrec.streams.transforms import STILL_PRESETS, WHOLE, preset
from actionrec.datasets import stanford40
from actionrec.datasets.records import Splits, Still


class Stanford40FrameDataModule(ActionDataModule):
    """Stills: `frame` (B, 3, S, S) uint8, `label` (B,) int64, `name` list of B.

    Args:
        root: holds `JPEGImages/` and `ImageSplits/`.
        protocol: `official` or `pooled`, see `datasets.stanford40.index`.
        options: see `ActionDataModule`.
    """

    def __init__(self, root: str, protocol: str, **options: Any):
        super().__init__(**options)
        self.root = Path(root)
        self.protocol = protocol

    @property
    def inputs(self) -> dict[str, Any]:
        return {"size": self.size}

    def index(self) -> tuple[tuple[str, ...], Splits]:
        return stanford40.index(self.root, self.choice, self.protocol, self.strict)

    def dataset(self, records: Sequence[Still], labels: Mapping[str, int], part: str) -> StillDataset:
        augmentation = preset(STILL_PRESETS, self.augmentation) if part == "train" else None
        views = self.views if part == "test" else (WHOLE,)
        return StillDataset(records, labels, self.size, augmentation, views)
