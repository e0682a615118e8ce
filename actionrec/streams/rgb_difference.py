"""Differences of consecutive RGB frames (TSN: Wang et al., ECCV 2016): motion without an estimator of flow."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View
from actionrec.streams.window import FrameWindow, view_frames

REST = 128  # the code of no change


class RGBDifference(FrameWindow):
    """A stack of differences of frames: (3 · length, S, S) uint8, red, green and blue of the first, then of the next.

    A difference d of two frames is from -255 to 255, one bit too many for uint8. Its code is 128 + d / 2, rounded
    towards 128, so that codes are from 1 to 255, no change is 128 exactly, and a reversed clip has the codes 256 - c.

    Args:
        length: differences of a stack; it takes a frame more. TSN has 5.
        stride: frames from one of those to the next.
        folder: of the frames that are taken out of clips, see `storage.frames`; None where nothing is read.
    """

    label, colour, hatch = "RGB difference", "#009E73", "\\\\\\\\"

    def __init__(self, length: int = 5, stride: int = 1, folder: str | None = None):
        super().__init__(length + 1, stride, folder)
        self.length = length

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.RGBDifference", "length": self.length, "stride": self.stride}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3 * self.length, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        """As in TSN a difference is divided by twice the mean deviation of R, G and B; the codes are halved already."""
        return (float(REST),), (sum(std) / len(std),)

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        seen = view_frames(pictures, view, size, augmentation, rng)
        stack = np.empty((self.length, 3, size, size), np.uint8)
        for codes, before, after in zip(stack, seen[:-1], seen[1:], strict=True):
            more, less = cv2.subtract(after, before), cv2.subtract(before, after)  # each 0 where it would be below
            codes[:] = (REST + (more >> 1) - (less >> 1)).transpose(2, 0, 1)
        return torch.from_numpy(stack.reshape(self.shape(size)))

    def picture(self, sample: Tensor) -> np.ndarray:
        """The middle difference, gray where nothing changes; four times as strong, for most changes are small."""
        middle = self.length // 2 * 3
        codes = sample[middle : middle + 3].permute(1, 2, 0).numpy().astype(np.int16)
        return (REST + (codes - REST) * 4).clip(0, 255).astype(np.uint8)
