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
        self._lengths: dict[Path, int] = {}  # frames by file; to read a header takes longer than to decode a frame

    def check(self, clips: Sequence[Clip]) -> None:
        pass  # `prepare` makes all that is needed

    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        frames.gather(clips, place(self.folder, self), fractions, workers, self.window, self.stride)

    def frames_of(self, clip: Clip) -> int:
        path = clip_path(place(self.folder, self), clip)
        if path not in self._lengths:
            self._lengths[path] = frames.count(path)
        return self._lengths[path]

    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        path = clip_path(place(self.folder, self), clip)
        windows = [frames.window(instant, self.frames_of(clip), self.window, self.stride) for instant in instants]
        return Source(path, windows[0] if len(windows) == 1 else sorted(set().union(*windows)), frames.read)

    @abstractmethod
    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor: ...


def view_frames(
    pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
) -> list[np.ndarray]:
    """The view of several frames (H, W, 3), each resized to (size, size, 3), uint8; all have the same colour jitter.

    Colours that change from frame to frame would be motion to whatever compares the frames.
    """
    seen = [view_frame(picture, view, size) for picture in pictures]
    return jitter_colours(seen, augmentation.jitter, rng) if augmentation else seen
