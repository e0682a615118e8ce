"""Dynamic images: frames pooled into one picture by approximate rank pooling (Bilen et al., CVPR 2016)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams import focus as looking
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View, view_frame
from actionrec.streams.window import FrameWindow
from actionrec.system.errors import ActionRecError

REST = 128  # the code of zero change


def weights_of(length: int) -> np.ndarray:
    """Weights (T,) float32 of approximate rank pooling; all weights sum to 0, the positive weights sum to 1.

    Approximate rank pooling is the first gradient step of a ranking SVM that learns which of two frames comes later:
    the sum over s < t of (I_t - I_s), which is the sum over t of (2t - T - 1) I_t. For smoothness, Bilen et al. rank
    the running means of the frames instead of the frames, which gives the weights
    2 (T - t + 1) - (T + 1) (H_T - H_(t-1)) with H_t = 1 + 1/2 + … + 1/t. Windows of about ten frames do not need the
    smoothing, so this function ranks the frames, as in their later work (Bilen et al., TPAMI 2018).
    """
    weights = 2 * np.arange(1, length + 1, dtype=np.float32) - length - 1
    return weights / weights[weights > 0].sum()


class DynamicImage(FrameWindow):
    """A dynamic image: (3, S, S) uint8, in the memory format `channels_last`.

    The picture is the weighted sum of the frames, see `weights_of`, in R, G and B. Zero change is 128, and each sample
    is scaled so that its largest change is 127 codes from 128. With a fixed scale most samples would use a few codes
    only, since the weights average the frames; the paper scales each sample, too, from its minimum to its maximum. The
    scale is limited to a largest change of one grey level, since otherwise a static clip would become noise. There is
    no colour jitter, since the scaling would undo most of it.

    Args:
        length: number of pooled frames.
        stride: distance between neighbouring frames, in frames.
        folder, size, focus: see `FrameWindow`.
    """

    label, colour, hatch = "dynamic image", "#CC79A7", "...."

    def __init__(
        self,
        length: int = 10,
        stride: int = 1,
        folder: str | None = None,
        size: int | None = None,
        focus: str | None = None,
    ):
        super().__init__(length, stride, folder, size, focus)
        if length < 2:
            raise ActionRecError(f"{self.key('length')}={length}: pool at least 2 frames")
        self.weights = weights_of(length)

    def settings(self) -> dict[str, Any]:
        settings = {"_target_": "actionrec.streams.DynamicImage", "length": self.window, "stride": self.stride}
        return settings | looking.named(self.size, self.focus)

    def shape(self, size: int) -> tuple[int, ...]:
        side = self.size or size
        return (3, side, side)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return (float(REST),), std

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        # Pooling is linear, so the view is applied once.
        pooled = np.tensordot(self.weights, np.asarray(self.focused(pictures)), 1)
        seen = view_frame(pooled, view, self.size or size)
        codes = np.rint(REST + seen * (127 / max(float(np.abs(seen).max()), 1.0))).astype(np.uint8)
        return torch.from_numpy(codes).permute(2, 0, 1)

    def picture(self, sample: Tensor) -> np.ndarray:
        return sample.permute(1, 2, 0).contiguous().numpy()
