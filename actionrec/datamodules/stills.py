"""Data module of stills."""

from collections.abc import Mapping, Sequence
from typing import Any

from actionrec.datamodules.base import ActionDataModule
from actionrec.datamodules.samples import StillDataset
from actionrec.datasets.base import StillSet
from actionrec.datasets.records import Still
from actionrec.streams.transforms import STILL_PRESETS, preset
from actionrec.system.errors import ActionRecError


class StillDataModule(ActionDataModule):
    """Stills, for streams that need one picture only (`Modality.of_stills`)."""

    def __init__(self, dataset: StillSet, **options: Any):
        super().__init__(dataset, **options)
        if self.fold not in (0, "all"):
            raise ActionRecError(f"data.fold={self.fold}: stills are not divided into folds; use 0 or all")
        if moving := [name for name, modality in self.streams.items() if not modality.of_stills]:
            raise ActionRecError(
                f"dataset={dataset.name} has stills, and the stream {moving[0]} needs clips; choose stream=[frame], or "
                "a data set of clips"
            )

    def dataset(self, records: Sequence[Still], labels: Mapping[str, int], part: str) -> StillDataset:
        augmentation = preset(STILL_PRESETS, self.augmentation) if part == "train" else None
        return StillDataset(records, labels, self.size, augmentation, self.streams, self.views_of(part), self.region)
