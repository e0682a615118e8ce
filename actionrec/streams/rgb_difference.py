"""Differences of consecutive RGB frames (TSN: Wang et al., ECCV 2016): motion without optical flow."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams import focus as looking
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View
from actionrec.streams.window import FrameWindow, view_frames

REST = 128  # the code of zero change


class RGBDifference(FrameWindow):
    """A stack of frame differences: (3 · length, S, S) uint8, R, G and B of the first difference, then of the next.

    A difference d of two frames is in -255 … 255, one bit too many for uint8. The code of d is 128 + d / 2, rounded
    towards 128, so that codes are in 1 … 255, zero change is exactly 128, and the reversed clip has the codes 256 - c.

    Args:
        length: number of differences in a stack, made from length + 1 frames; 5 in TSN.
        stride: distance between neighbouring frames, in frames.
        folder, size, focus: see `FrameWindow`.
    """

    label, colour, hatch = "RGB difference", "#009E73", "\\\\\\\\"

    def __init__(
        self,
        length: int = 5,
        stride: int = 1,
        folder: str | None = None,
        size: int | None = None,
        focus: str | None = None,
    ):
        super().__init__(length + 1, stride, folder, size, focus)
        self.length = length

    def settings(self) -> dict[str, Any]:
        settings = {"_target_": "actionrec.streams.RGBDifference", "length": self.length, "stride": self.stride}
        return settings | looking.named(self.size, self.focus)

    def shape(self, size: int) -> tuple[int, ...]:
        side = self.size or size
        return (3 * self.length, side, side)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        """The standard deviation is the mean of R, G and B; TSN divides by twice this value, and codes are halved."""
        return (float(REST),), (sum(std) / len(std),)

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        side = self.size or size
        seen = view_frames(self.focused(pictures), view, side, augmentation, rng)
        stack = np.empty((self.length, 3, side, side), np.uint8)
        for codes, before, after in zip(stack, seen[:-1], seen[1:], strict=True):
            more, less = cv2.subtract(after, before), cv2.subtract(before, after)  # both saturate at 0
            codes[:] = (REST + (more >> 1) - (less >> 1)).transpose(2, 0, 1)
        return torch.from_numpy(stack.reshape(self.shape(size)))

    def picture(self, sample: Tensor) -> np.ndarray:
        """The middle difference on gray, amplified four times, since most changes are small."""
        middle = self.length // 2 * 3
        codes = sample[middle : middle + 3].permute(1, 2, 0).numpy().astype(np.int16)
        return (REST + (codes - REST) * 4).clip(0, 255).astype(np.uint8)
