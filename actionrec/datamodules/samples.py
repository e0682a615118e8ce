"""Map-style data sets of torch: a record → a sample of uint8 tensors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from actionrec.datasets.records import Clip, Still
from actionrec.storage import cache
from actionrec.storage.cache import Source
from actionrec.storage.frames import frame_index
from actionrec.storage.video import read_image
from actionrec.streams import Modality
from actionrec.streams.transforms import NONE, WHOLE, Augmentation, View, draw_view

# A tensor `Modality.shape(S)` uint8 for each stream, by stream name; `label` int; `name` str, which all views of one
# record share.
Sample = dict[str, Any]


class ActionDataset(Dataset[Sample], ABC):
    """A data set of samples that can also list its sources for the cache."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sources(self) -> Iterator[Source]:
        """All pictures from which samples may be made."""


class StillDataset(ActionDataset):
    """Stills: with an augmentation, one sample per still under a random view; otherwise one sample per view."""

    def __init__(
        self,
        stills: Sequence[Still],
        labels: Mapping[str, int],
        size: int,
        augmentation: Augmentation | None,
        modalities: Mapping[str, Modality],
        views: Sequence[View] = (WHOLE,),
        region: str = "whole",
    ):
        self.stills = stills
        self.views = views
        self.region = region
        self.labels = labels
        self.size = size
        self.augmentation = augmentation
        self.modalities = modalities
        smallest = min(min(view.width, view.height) for view in views)
        if augmentation:
            smallest = augmentation.smallest_side
        self._enough = math.ceil(size / smallest)

    def __len__(self) -> int:
        return len(self.stills) * (1 if self.augmentation else len(self.views))

    def __getitem__(self, index: int) -> Sample:
        rng = _generator()
        if self.augmentation:
            still, view = self.stills[index], draw_view(self.augmentation, rng, self.region)
        else:
            still, view = self.stills[index // len(self.views)], self.views[index % len(self.views)]
        image = cache.read(self._source(still))
        return {
            "label": self.labels[still.action],
            "name": still.name,
            **{
                stream: modality.see(image, view, self.size, self.augmentation, rng)
                for stream, modality in self.modalities.items()
            },
        }

    def sources(self) -> Iterator[Source]:
        return map(self._source, self.stills)

    def _source(self, still: Still) -> Source:
        """The image of a still; the key is the minimum short side, enough for the smallest possible crop.

        The key is the same for all crops, so cached and freshly read images are identical.
        """
        return Source(still.path, (self._enough,), _read_images)


class ClipDataset(ActionDataset):
    """Clips: a sample has the inputs of all streams for one clip at one instant under one view.

    All streams of a sample are read from one record in one call, so a frame cannot be paired with another clip's flow.

    Args:
        clips: the records.
        labels: label of each action.
        size: side of a sample in pixels.
        fractions: instants, as fractions of the clip.
        random_instant: whether a clip gives one sample at a random instant; otherwise a clip gives one sample for each
            instant and view.
        augmentation: augmentation of training; None takes `views`.
        modalities: the modality of each stream, by stream name.
        views: the views without an augmentation.
        region: of the views with an augmentation, see `transforms.eval_views`.

    Attributes:
        features: precomputed features (N, F) of frozen streams, by stream name; samples have these features in place of
            the pixels.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Mapping[str, int],
        size: int,
        fractions: Sequence[float],
        random_instant: bool,
        augmentation: Augmentation | None,
        modalities: Mapping[str, Modality],
        views: Sequence[View] = (WHOLE,),
        region: str = "whole",
    ):
        self.clips = clips
        self.views = views
        self.region = region
        self.labels = labels
        self.size = size
        self.fractions = fractions
        self.random_instant = random_instant
        self.augmentation = augmentation
        self.modalities = modalities
        self._instants = list(product(fractions, views))
        self.features: dict[str, torch.Tensor] = {}
        self._lengths: dict[tuple[str, Path], int] = {}

    def __len__(self) -> int:
        return len(self.clips) * (1 if self.random_instant else len(self._instants))

    def __getitem__(self, index: int) -> Sample:
        rng = _generator()
        if self.random_instant:
            clip, fraction = self.clips[index], self.fractions[int(rng.integers(len(self.fractions)))]
            view = draw_view(self.augmentation, rng, self.region) if self.augmentation else self.views[0]
        else:
            clip = self.clips[index // len(self._instants)]
            fraction, view = self._instants[index % len(self._instants)]
        sample: Sample = {"label": self.labels[clip.action], "name": clip.name}
        for stream, modality in self.modalities.items():
            if stream in self.features:
                sample[stream] = self.features[stream][index]
            else:
                pictures = cache.read(self._source(stream, clip, [fraction]))
                sample[stream] = modality.see(pictures, view, self.size, self.augmentation, rng)
        return sample

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same in every epoch."""
        return self.augmentation in (None, NONE) and not (self.random_instant and len(self.fractions) > 1)

    def sources(self) -> Iterator[Source]:
        for clip, stream in product(self.clips, self.modalities):
            if stream not in self.features:
                yield self._source(stream, clip, self.fractions)

    def _source(self, stream: str, clip: Clip, fractions: Sequence[float]) -> Source:
        """The pictures of a stream for a clip at these instants.

        Each stream has its own number of frames, since imported flow may have one field more or fewer than the clip.
        """
        modality, key = self.modalities[stream], (stream, clip.path)
        if key not in self._lengths:
            self._lengths[key] = modality.frames_of(clip)
        return modality.source(clip, [frame_index(fraction, self._lengths[key]) for fraction in fractions])


def _read_images(path: Path, sizes: Sequence[int]) -> list[np.ndarray]:
    return [read_image(path, enough) for enough in sizes]


def _generator() -> np.random.Generator:
    """A NumPy generator seeded by torch's generator, which Lightning seeds by run, worker and epoch."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, ()).item()))
