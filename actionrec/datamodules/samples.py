"""Map-style data sets: a record to a sample of uint8 tensors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from actionrec.storage import cache
from actionrec.streams import sampling
from actionrec.storage.cache import Source
from actionrec.streams.transforms import (
    NONE,
    WHOLE,
    Augmentation,
    View,
    draw_view,
    jitter_colours,
    view_flow,
    view_frame,
)
from actionrec.datasets.records import Clip, Still
from actionrec.storage import flow as store
from actionrec.storage import frames
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.storage.video import read_image
from actionrec.system.errors import ActionRecError

# `frame` (3, S, S) and/or `flow` (C, S, S), uint8; `label` int; `name` str, the same for all views of one record.
Sample = dict[str, Any]


class FlowStack(NamedTuple):
    """Where stacks of flow come from and what they hold."""

    folder: Path
    settings: FlowSettings
    fields: int = 4
    stride: int = 1
    representation: str = "xy"


class ActionDataset(Dataset[Sample], ABC):
    """What the loaders want of a data set."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sources(self) -> Iterator[Source]:
        """All pictures that its samples may be made of."""


class StillDataset(ActionDataset):
    """Stills: one random view of each where there is an augmentation, else a sample for each of `views`."""

    def __init__(
        self,
        stills: Sequence[Still],
        labels: Mapping[str, int],
        size: int,
        augmentation: Augmentation | None,
        views: Sequence[View] = (WHOLE,),
    ):
        self.stills = stills
        self.views = views
        self.labels = labels
        self.size = size
        self.augmentation = augmentation
        smallest = min(min(view.width, view.height) for view in views)
        if augmentation:
            smallest = augmentation.smallest_side
        self._enough = math.ceil(size / smallest)

    def __len__(self) -> int:
        return len(self.stills) * (1 if self.augmentation else len(self.views))

    def __getitem__(self, index: int) -> Sample:
        rng = _generator()
        if self.augmentation:
            still, view = self.stills[index], draw_view(self.augmentation, rng)
        else:
            still, view = self.stills[index // len(self.views)], self.views[index % len(self.views)]
        [image] = cache.read(self._source(still))
        return {
            "frame": _frame(image, view, self.augmentation, self.size, rng),
            "label": self.labels[still.action],
            "name": still.path.stem,
        }

    def sources(self) -> Iterator[Source]:
        return map(self._source, self.stills)

    def _source(self, still: Still) -> Source:
        """The image, numbered by the pixels that its shorter side needs for the smallest crop.

        Not fewer where the crop is larger, so that what is kept in memory is what would be read.
        """
        return Source(still.path, (self._enough,), _read_images)


class ClipDataset(ActionDataset):
    """Clips: the frame and/or the flow of one clip at one instant, under one view.

    Both come from one record in one call, so a frame can only be paired with its own clip's flow.

    Args:
        clips: the records.
        labels: label of each action.
        size: side of the square that views are resized to, in pixels.
        fractions: instants, as fractions of the clip.
        draw: whether a sample sees one of them at random; else every clip gives a sample for each, under each view.
        augmentation: of training; None takes `views`.
        views: what is seen of the picture without an augmentation.
        frame_folder: folder of the frames that samples hold, if any; see `frames.gather`.
        flow: the stack that samples hold, if any.

    Attributes:
        features: by modality, what a frozen stream makes of each sample, (N, F); samples then hold that in place of
            the pixels.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Mapping[str, int],
        size: int,
        fractions: Sequence[float],
        draw: bool,
        augmentation: Augmentation | None,
        frame_folder: Path | None,
        flow: FlowStack | None,
        views: Sequence[View] = (WHOLE,),
    ):
        self.clips = clips
        self.views = views
        self.labels = labels
        self.size = size
        self.fractions = fractions
        self.draw = draw
        self.augmentation = augmentation
        self.frame_folder = frame_folder
        self.flow = flow
        self._instants = list(product(fractions, views))
        self.features: dict[str, torch.Tensor] = {}
        self._lengths: dict[Path, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.clips) * (1 if self.draw else len(self._instants))

    def __getitem__(self, index: int) -> Sample:
        rng = _generator()
        if self.draw:
            clip, fraction = self.clips[index], self.fractions[int(rng.integers(len(self.fractions)))]
            view = draw_view(self.augmentation, rng) if self.augmentation else WHOLE
        else:
            clip = self.clips[index // len(self._instants)]
            fraction, view = self._instants[index % len(self._instants)]
        sample: Sample = {"label": self.labels[clip.action], "name": clip.path.stem}
        sample |= {modality: features[index] for modality, features in self.features.items()}
        for modality, source in self._sources(clip, [fraction]).items():
            pictures = cache.read(source)
            if modality == "frame":
                sample["frame"] = _frame(pictures[0], view, self.augmentation, self.size, rng)
            elif self.flow:
                seen = view_flow(np.asarray(pictures), view, self.size, self.flow.representation)
                sample["flow"] = torch.from_numpy(seen)
        return sample

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same each time."""
        return self.augmentation in (None, NONE) and not (self.draw and len(self.fractions) > 1)

    def sources(self) -> Iterator[Source]:
        for clip in self.clips:
            yield from self._sources(clip, self.fractions).values()

    def _sources(self, clip: Clip, fractions: Sequence[float]) -> dict[str, Source]:
        """By modality, what is seen of a clip at those instants."""
        sources = {}
        n_frames, n_fields = self._count(clip)
        instants = [frames.frame_index(fraction, n_frames) for fraction in fractions]
        if self.frame_folder and "frame" not in self.features:
            sources["frame"] = Source(clip_path(self.frame_folder, clip), sorted(set(instants)), frames.read)
        if self.flow and "flow" not in self.features:
            stacks = [
                sampling.stack_indices(instant, n_fields, self.flow.fields, self.flow.stride) for instant in instants
            ]
            fields = sorted(set().union(*stacks))
            sources["flow"] = Source(clip_path(self.flow.folder, clip), fields, store.read_fields)
        return sources

    def _count(self, clip: Clip) -> tuple[int, int]:
        """Numbers of a clip's frames and of its fields; one follows from the other where only one is at hand."""
        if clip.path in self._lengths:
            return self._lengths[clip.path]
        n_fields = store.read_header(clip_path(self.flow.folder, clip)).fields if self.flow else None
        n_frames = frames.count(clip_path(self.frame_folder, clip)) if self.frame_folder else None
        self._lengths[clip.path] = n_frames or (n_fields or 0) + 1, n_fields or 0
        return self._lengths[clip.path]


def check_flow(clips: Sequence[Clip], flow: FlowStack) -> None:
    """Raise unless every clip's flow is extracted from this clip, with these settings, and long enough for a stack."""
    missing = [clip for clip in clips if not clip_path(flow.folder, clip).is_file()]
    if missing:
        raise ActionRecError(
            f"flow of {len(missing)} of {len(clips)} clips is not extracted in {flow.folder} "
            f"(first: {missing[0].path.name}); run actionrec extract_flow with the same paths, flow and "
            "data.actions"
        )
    for clip in clips:
        path = clip_path(flow.folder, clip)
        header = store.check_settings(path, flow.settings)
        if header.source_bytes != clip.path.stat().st_size:
            raise ActionRecError(
                f"{path} was extracted from another {clip.path.name}; run actionrec extract_flow again"
            )
        try:
            sampling.stack_indices(0, header.fields, flow.fields, flow.stride)
        except ValueError as error:
            raise ActionRecError(
                f"{clip.path} is too short: {error}; lower data.fields or data.stride, or leave the clip out"
            ) from None


def _read_images(path: Path, sizes: Sequence[int]) -> list[np.ndarray]:
    return [read_image(path, enough) for enough in sizes]


def _frame(
    image: np.ndarray, view: View, augmentation: Augmentation | None, size: int, rng: np.random.Generator
) -> torch.Tensor:
    seen = view_frame(image, view, size)
    return _to_tensor(jitter_colours(seen, augmentation.jitter, rng) if augmentation else seen)


def _generator() -> np.random.Generator:
    """A generator seeded from torch's, which Lightning seeds by run, worker and epoch."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, ()).item()))


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) as (3, H, W), without a copy."""
    return torch.from_numpy(image).permute(2, 0, 1)
