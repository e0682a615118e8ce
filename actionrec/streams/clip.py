"""Several frames as one sample, for video networks (such as R(2+1)D: Tran et al., CVPR 2018)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View
from actionrec.streams.window import FrameWindow, view_frames


class Clip(FrameWindow):
    """T frames: (3, T, S, S) uint8, in the memory format `channels_last_3d`.

    Args:
        frames: number of frames T.
        stride: distance between neighbouring frames; torchvision's networks were trained at about 15 frames a second,
            which is a stride of 2 for clips of 30 frames a second.
        folder: folder of the extracted frames, see `storage.frames`; None if no samples are read.
    """

    label, colour, hatch = "clip", "#56B4E9", "xxxx"

    def __init__(self, frames: int = 16, stride: int = 2, folder: str | None = None):
        super().__init__(frames, stride, folder)

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.Clip", "frames": self.window, "stride": self.stride}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, self.window, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return mean, std

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        return torch.from_numpy(np.stack(view_frames(pictures, view, size, augmentation, rng))).permute(3, 0, 1, 2)

    def picture(self, sample: Tensor) -> np.ndarray:
        """The middle frame."""
        return sample[:, self.window // 2].permute(1, 2, 0).contiguous().numpy()
