"""One RGB frame of a clip, or a still."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams import focus as looking
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View
from actionrec.streams.window import FrameWindow, view_frames

AROUND = 5  # frames whose changes place the square of a focus, the middle one of which is seen


class Frame(FrameWindow):
    """One RGB frame: (3, S, S) uint8, in the memory format `channels_last`.

    Args:
        folder: folder of the extracted frames, see `storage.frames`; None if no samples are read.
        focus: None, or `motion` for the square of the frame around the changes in `AROUND` frames, see `focus`; views
            are of it. A still, around which nothing is known, is seen whole.
    """

    label, colour, hatch = "frame", "#0072B2", ""
    of_stills = True

    def __init__(self, folder: str | None = None, focus: str | None = None):
        super().__init__(AROUND if focus else 1, 1, folder, focus=focus)

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.Frame", **looking.named(None, self.focus)}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return mean, std

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        pictures = self.focused(pictures)
        [seen] = view_frames([pictures[len(pictures) // 2]], view, size, augmentation, rng)
        return torch.from_numpy(seen).permute(2, 0, 1)

    def picture(self, sample: Tensor) -> np.ndarray:
        return sample.permute(1, 2, 0).contiguous().numpy()
