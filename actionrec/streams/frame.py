"""One RGB frame of a clip, or a still."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View
from actionrec.streams.window import FrameWindow, view_frames


class Frame(FrameWindow):
    """One RGB frame: (3, S, S) uint8, in the memory format `channels_last`.

    Args:
        folder: folder of the extracted frames, see `storage.frames`; None if no samples are read.
    """

    label, colour, hatch = "frame", "#0072B2", ""
    of_stills = True

    def __init__(self, folder: str | None = None):
        super().__init__(1, 1, folder)

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.Frame"}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return mean, std

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        [seen] = view_frames(pictures, view, size, augmentation, rng)
        return torch.from_numpy(seen).permute(2, 0, 1)

    def picture(self, sample: Tensor) -> np.ndarray:
        return sample.permute(1, 2, 0).contiguous().numpy()
