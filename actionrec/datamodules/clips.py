"""Data module of clips, for one or more streams."""

from collections.abc import Mapping, Sequence
from typing import Any

from actionrec.datamodules.base import ActionDataModule
from actionrec.datamodules.samples import ClipDataset
from actionrec.datasets.base import ClipSet
from actionrec.datasets.records import Clip, Splits
from actionrec.streams import sampling
from actionrec.streams.transforms import CLIP_PRESETS, preset
from actionrec.system.hardware import usable_cores


class ClipDataModule(ActionDataModule):
    """Clips: all streams of a sample have the same clip, instant and view.

    Args:
        dataset: the data set.
        position: instant of the frame, and centre of a stack: `first`, `quarter`, `middle`, `three_quarter`, `last`, or
            `random` (one of 32 instants for each sample in training, the middle in evaluation).
        segments: number of instants per clip whose scores the test averages.
        options: see `ActionDataModule`.
    """

    def __init__(self, dataset: ClipSet, position: str, segments: int, **options: Any):
        super().__init__(dataset, **options)
        self.position = position
        self.segments = segments

    @property
    def inputs(self) -> dict[str, Any]:
        return {**super().inputs, "position": self.position}

    def index(self) -> tuple[tuple[str, ...], Splits]:
        actions, splits = super().index()
        clips = [clip for part in splits for clip in part]
        for modality in self.streams.values():
            modality.check(clips)
        return actions, splits

    def _fractions(self, part: str) -> Sequence[float]:
        """Instants of the samples of a part, as fractions of a clip."""
        if part == "train" and self.position == sampling.RANDOM:
            return sampling.RANDOM_FRACTIONS
        return sampling.eval_fractions(self.position, self.segments if part == "test" else 1)

    def dataset(self, records: Sequence[Clip], labels: Mapping[str, int], part: str) -> ClipDataset:
        train, fractions = part == "train", self._fractions(part)
        for modality in self.streams.values():
            modality.prepare(records, fractions, usable_cores())
        return ClipDataset(
            records,
            labels,
            self.size,
            fractions=fractions,
            random_instant=train,
            augmentation=preset(CLIP_PRESETS, self.augmentation) if train else None,
            modalities=self.streams,
            views=self.views_of(part),
            region=self.region,
        )
