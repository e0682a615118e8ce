"""Base class of modalities that are made from RGB frames around an instant."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from actionrec.datasets.records import Clip
from actionrec.storage import frames
from actionrec.storage.cache import Pictures, Source
from actionrec.storage.pictures import clip_path
from actionrec.streams import focus as looking
from actionrec.streams.base import Modality, place
from actionrec.streams.transforms import Augmentation, View, jitter_colours, view_frame
from actionrec.system.errors import ActionRecError


class FrameWindow(Modality):
    """A modality made from a window of extracted frames around an instant, see `storage.frames.window`.

    Args:
        length: number of frames in a window.
        stride: distance between neighbouring frames of a window, in frames.
        folder: folder of the extracted frames, see `storage.frames`; None if no samples are read.
        size: side of a sample in pixels; None for that of the other streams.
        focus: None, or `motion` for the square of each window around the changes, see `focus`; views are of it.
    """

    def __init__(self, length: int, stride: int, folder: str | None, size: int | None = None, focus: str | None = None):
        if length < 1 or stride < 1:
            raise ActionRecError(f"{self.key('stride')}={stride} over {length} frames: both must be at least 1")
        self.window, self.stride = length, stride
        self.folder = Path(folder) if folder else None
        self.size = size
        self.focus = looking.check(self.key("focus"), focus)
        # Number of frames by file: reading a header is slower than decoding a frame.
        self._lengths: dict[Path, int] = {}

    def check(self, clips: Sequence[Clip]) -> None:
        pass  # `prepare` extracts all frames

    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        frames.extract_missing(clips, place(self.folder, self), fractions, workers, self.window, self.stride)

    def frames_of(self, clip: Clip) -> int:
        path = clip_path(place(self.folder, self), clip)
        if path not in self._lengths:
            self._lengths[path] = frames.count(path)
        return self._lengths[path]

    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        path = clip_path(place(self.folder, self), clip)
        windows = [frames.window(instant, self.frames_of(clip), self.window, self.stride) for instant in instants]
        return Source(path, windows[0] if len(windows) == 1 else sorted(set().union(*windows)), frames.read)

    def focused(self, pictures: Pictures) -> Pictures:
        """The pictures, or with a focus their square; a single picture, around which nothing is known, stays whole."""
        return looking.on_frames(pictures) if self.focus and len(pictures) > 1 else pictures

    @abstractmethod
    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor: ...


def view_frames(
    pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
) -> list[np.ndarray]:
    """The view of several frames (H, W, 3), each resized to (size, size, 3), uint8.

    All frames get the same colour jitter, since different colours would look like motion.
    """
    seen = [view_frame(picture, view, size) for picture in pictures]
    return jitter_colours(seen, augmentation.jitter, rng) if augmentation else seen
