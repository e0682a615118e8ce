"""HMDB51 clips as batches of frames, of flow stacks, or of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actionrec.streams import sampling
from actionrec.datamodules.base import ActionDataModule, unique_names
from actionrec.datamodules.samples import ClipDataset, FlowStack, check_flow
from actionrec.streams.transforms import CLIP_PRESETS, WHOLE, preset
from actionrec.datasets import hmdb51
from actionrec.datasets.records import Clip, Splits
from actionrec.storage import frames
from actionrec.storage.flow import FlowSettings
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

CHANNELS = 8  # of a stack, unless its number of fields is given
CHANNELS_OF_A_FIELD = {"xy": 2, "magnitude": 1}


class _HMDB51DataModule(ActionDataModule):
    """Clips of one official split.

    Args:
        videos: holds `<action>/*.avi`.
        splits: holds `<action>_test_split<k>.txt`.
        split: 1, 2 or 3.
        position: instant of the frame and of the middle of the stack: `first`, `quarter`, `middle`, `three_quarter`,
            `last`, or `random` (in training one of 32 drawn anew, the middle in evaluation).
        segments: instants over the clip whose scores are averaged in the test.
        frame_folder: where frames are kept that have been taken out of the clips.
        options: see `ActionDataModule`.
    """

    frame = False
    flow: FlowStack | None = None

    def __init__(
        self, videos: str, splits: str, split: int, position: str, segments: int, frame_folder: str, **options: Any
    ):
        super().__init__(**options)
        self.videos = Path(videos)
        self.lists = Path(splits)
        self.split = split
        self.position = position
        self.segments = segments
        self.frame_folder = Path(frame_folder)

    @property
    def inputs(self) -> dict[str, Any]:
        return {"size": self.size, "position": self.position}

    def index(self) -> tuple[tuple[str, ...], Splits]:
        actions, splits = hmdb51.index(self.videos, self.lists, self.split, self.choice, self.strict)
        unique_names(splits)
        clips = [clip for part in splits for clip in part]
        if self.flow:
            check_flow(clips, self.flow)
        return actions, splits

    def _fractions(self, part: str) -> Sequence[float]:
        """Instants at which clips of a part are seen."""
        if part == "train" and self.position == sampling.RANDOM:
            return sampling.RANDOM_FRACTIONS
        return sampling.eval_fractions(self.position, self.segments if part == "test" else 1)

    def dataset(self, records: Sequence[Clip], labels: Mapping[str, int], part: str) -> ClipDataset:
        train = part == "train"
        if self.frame:
            frames.gather(records, self.frame_folder, self._fractions(part), usable_cores())
        return ClipDataset(
            records,
            labels,
            self.size,
            fractions=self._fractions(part),
            draw=train,
            augmentation=preset(CLIP_PRESETS, self.augmentation) if train else None,
            frame_folder=self.frame_folder if self.frame else None,
            flow=self.flow,
            views=self.views if part == "test" else (WHOLE,),
        )


class HMDB51FrameDataModule(_HMDB51DataModule):
    """One frame of each clip: `frame` (B, 3, S, S) uint8, `label` (B,) int64, `name` list of B."""

    frame = True


class HMDB51FlowDataModule(_HMDB51DataModule):
    """A stack of flow of each clip: `flow` (B, C, S, S) uint8, `label` (B,) int64, `name` list of B.

    Args:
        flow_folder: the store.
        flow: settings it was extracted with: `algorithm`, `params`, `bound`.
        fields: fields of a stack; None takes as many as make eight channels, four of `xy` or eight of `magnitude`.
        stride: from one field of a stack to the next.
        representation: `xy` (C = 2 · fields) or `magnitude` (C = fields).
        options: see `_HMDB51DataModule`.
    """

    def __init__(
        self,
        flow_folder: str,
        flow: dict[str, Any],
        fields: int | None,
        stride: int,
        representation: str,
        **options: Any,
    ):
        super().__init__(**options)
        if representation not in CHANNELS_OF_A_FIELD:
            raise ActionRecError(f"data.representation={representation}: use xy or magnitude")
        if fields is None:
            fields = CHANNELS // CHANNELS_OF_A_FIELD[representation]
        if fields < 1 or stride < 1:
            raise ActionRecError(f"data.fields={fields} data.stride={stride}: both must be at least 1")
        self.flow: FlowStack = FlowStack(Path(flow_folder), FlowSettings(**flow), fields, stride, representation)

    @property
    def inputs(self) -> dict[str, Any]:
        stack = self.flow
        return {
            **super().inputs,
            "flow": asdict(stack.settings),
            "fields": stack.fields,
            "stride": stack.stride,
            "representation": stack.representation,
        }


class HMDB51TwoStreamDataModule(HMDB51FlowDataModule):
    """The frame and the flow of the same clip at the same instant under the same view: both keys of the two above."""

    frame = True
