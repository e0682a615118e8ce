"""One RGB frame of a clip, or a still."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.datasets.records import Clip
from actionrec.storage import frames
from actionrec.storage.cache import Pictures, Source
from actionrec.storage.pictures import clip_path
from actionrec.streams.base import Constants, Modality, place
from actionrec.streams.transforms import Augmentation, View, jitter_colours, view_frame


class Frame(Modality):
    """One RGB frame: (3, S, S) uint8, in the memory format `channels_last`.

    Args:
        folder: of the frames that are taken out of clips, see `storage.frames`; None where nothing is read.
    """

    label, colour, hatch = "frame", "#0072B2", ""
    of_stills = True

    def __init__(self, folder: str | None = None):
        self.folder = Path(folder) if folder else None

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.Frame"}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return mean, std

    def check(self, clips: Sequence[Clip]) -> None:
        pass

    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        frames.gather(clips, place(self.folder, self), fractions, workers)

    def frames_of(self, clip: Clip) -> int:
        return frames.count(clip_path(place(self.folder, self), clip))

    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        return Source(clip_path(place(self.folder, self), clip), sorted(set(instants)), frames.read)

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        seen = view_frame(pictures[0], view, size)
        if augmentation:
            seen = jitter_colours(seen, augmentation.jitter, rng)
        return torch.from_numpy(seen).permute(2, 0, 1)

    def picture(self, sample: Tensor) -> np.ndarray:
        return sample.permute(1, 2, 0).contiguous().numpy()
