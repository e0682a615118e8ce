"""What streams share that see RGB frames around an instant."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from actionrec.datasets.records import Clip
from actionrec.storage import frames
from actionrec.storage.cache import Pictures, Source
from actionrec.storage.pictures import clip_path
from actionrec.streams.base import Modality, place
from actionrec.streams.transforms import Augmentation, View, jitter_colours, view_frame
from actionrec.system.errors import ActionRecError


class FrameWindow(Modality):
    """A modality that is made of frames around an instant, which are taken out of the clips once.

    At the ends of a clip the window is moved inside; a clip that is too short repeats its last frame, see
    `storage.frames.window`.

    Args:
        length: frames of a window.
        stride: from one frame of a window to the next.
        folder: of the frames, see `storage.frames`; None where nothing is read.
    """

    def __init__(self, length: int, stride: int, folder: str | None):
        if length < 1 or stride < 1:
            raise ActionRecError(f"{self.key('stride')}={stride} over {length} frames: both must be at least 1")
        self.window, self.stride = length, stride
        self.folder = Path(folder) if folder else None

    def check(self, clips: Sequence[Clip]) -> None:
        pass  # `prepare` makes all that is needed

    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        frames.gather(clips, place(self.folder, self), fractions, workers, self.window, self.stride)

    def frames_of(self, clip: Clip) -> int:
        return frames.count(clip_path(place(self.folder, self), clip))

    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        path = clip_path(place(self.folder, self), clip)
        n_frames = frames.count(path) if self.window > 1 else max(instants) + 1  # one frame needs no look at the file
        windows = [frames.window(instant, n_frames, self.window, self.stride) for instant in instants]
        return Source(path, windows[0] if len(windows) == 1 else sorted(set().union(*windows)), frames.read)

    @abstractmethod
    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor: ...


def view_frames(
    pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
) -> np.ndarray:
    """The view of several frames (T, H, W, 3), resized to (T, size, size, 3), uint8; all have the same colour jitter.

    Colours that change from frame to frame would be motion to whatever compares the frames.
    """
    seen = np.stack([view_frame(picture, view, size) for picture in pictures])
    if augmentation:
        seen = jitter_colours(seen.reshape(-1, size, 3), augmentation.jitter, rng).reshape(seen.shape)
    return seen
