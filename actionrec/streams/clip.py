"""Several frames as one sample, for video networks (such as R(2+1)D: Tran et al., CVPR 2018)."""

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


class Clip(FrameWindow):
    """T frames: (3, T, S, S) uint8, in the memory format `channels_last_3d`.

    Args:
        frames: number of frames T.
        stride: distance between neighbouring frames; torchvision's networks were trained at about 15 frames a second,
            which is a stride of 2 for clips of 30 frames a second.
        folder, size, focus: see `FrameWindow`.
    """

    label, colour, hatch = "clip", "#56B4E9", "xxxx"

    def __init__(
        self,
        frames: int = 16,
        stride: int = 2,
        folder: str | None = None,
        size: int | None = None,
        focus: str | None = None,
    ):
        super().__init__(frames, stride, folder, size, focus)

    def settings(self) -> dict[str, Any]:
        settings = {"_target_": "actionrec.streams.Clip", "frames": self.window, "stride": self.stride}
        return settings | looking.named(self.size, self.focus)

    def shape(self, size: int) -> tuple[int, ...]:
        side = self.size or size
        return (3, self.window, side, side)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return mean, std

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        seen = view_frames(self.focused(pictures), view, self.size or size, augmentation, rng)
        return torch.from_numpy(np.stack(seen)).permute(3, 0, 1, 2)

    def picture(self, sample: Tensor) -> np.ndarray:
        """The middle frame."""
        return sample[:, self.window // 2].permute(1, 2, 0).contiguous().numpy()
