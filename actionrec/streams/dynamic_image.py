"""Dynamic images: the order of frames pooled into one picture (Bilen et al., CVPR 2016)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.storage.cache import Pictures
from actionrec.streams.base import Constants
from actionrec.streams.transforms import Augmentation, View, view_frame
from actionrec.streams.window import FrameWindow
from actionrec.system.errors import ActionRecError

REST = 128  # the code of no change


def weights_of(length: int) -> np.ndarray:
    """Weights (T,) float32 of approximate rank pooling; they add up to 0, and those above 0 to 1.

    Pooling ranks frames by time: it is the first gradient step of a ranking machine that learns which of two frames
    comes later, sum over s < t of (I_t - I_s), which is the sum over t of (2t - T - 1) I_t. Bilen et al. rank the means
    of the frames up to t instead of the frames, for smoothness, which gives the weights
    2 (T - t + 1) - (T + 1) (H_T - H_(t-1)) with H_t = 1 + 1/2 + … + 1/t. Windows of some ten frames are short, so that
    the frames are taken as they are here (as in their later work, Bilen et al., TPAMI 2018).
    """
    weights = 2 * np.arange(1, length + 1, dtype=np.float32) - length - 1
    return weights / weights[weights > 0].sum()


class DynamicImage(FrameWindow):
    """A dynamic image: (3, S, S) uint8, in the memory format `channels_last`.

    Late frames less early ones, see `weights_of`, in R, G and B. No change is 128, and the largest change of each
    sample is 127 codes away. A fixed scale would leave most samples a few codes, since the weights average the frames;
    the paper scales each sample as well, from its smallest to its largest value. A largest change below one level of
    brightness counts as one, or a clip that stands still would be noise. There is no colour jitter, most of which the
    scaling would undo.

    Args:
        length: frames that are pooled.
        stride: from one of those to the next.
        folder: of the frames that are taken out of clips, see `storage.frames`; None where nothing is read.
    """

    label, colour, hatch = "dynamic image", "#CC79A7", "...."

    def __init__(self, length: int = 10, stride: int = 1, folder: str | None = None):
        super().__init__(length, stride, folder)
        if length < 2:
            raise ActionRecError(f"{self.key('length')}={length}: pool at least 2 frames")
        self.weights = weights_of(length)

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.DynamicImage", "length": self.window, "stride": self.stride}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return (float(REST),), std

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        pooled = np.tensordot(self.weights, np.asarray(pictures), 1)  # linear, so that one view does for all frames
        seen = view_frame(pooled, view, size)
        codes = np.rint(REST + seen * (127 / max(float(np.abs(seen).max()), 1.0))).astype(np.uint8)
        return torch.from_numpy(codes).permute(2, 0, 1)

    def picture(self, sample: Tensor) -> np.ndarray:
        return sample.permute(1, 2, 0).contiguous().numpy()
