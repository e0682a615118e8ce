"""The pictures of streams made from decoded frames in memory, equal to those that the stores on disk hold.

Training reads frames and flow from JPEGs (`storage.frames`, `storage.flow`), so pictures are encoded and decoded here,
too: a network that has learned from JPEGs gives the same scores only for JPEGs.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import cv2
import numpy as np

from actionrec.flow.estimators import Estimator, create, is_own
from actionrec.flow.field import quantize
from actionrec.settings.allowed_values import FLOW_PARAMS
from actionrec.settings.rules import require
from actionrec.settings.untrusted.targets import check_target
from actionrec.settings.values import UnfitError
from actionrec.storage import frames
from actionrec.storage.cache import Pictures
from actionrec.storage.flow import as_picture
from actionrec.storage.pictures import decode, encode
from actionrec.storage.video import resize_short_side
from actionrec.streams import Modality
from actionrec.streams.flow import Flow
from actionrec.streams.sampling import stack_indices
from actionrec.streams.window import FrameWindow
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

ENDLESS = 1 << 40  # number of frames of a video whose end is not read yet
THREADED = ("dis", "farneback", "tvl1")  # estimators that threads may run at once, each with its own
IMPORTED = "imported"  # the algorithm in conf/flow/imported.yaml


class Decoded:
    """A decoded frame (H, W, 3) uint8 BGR."""

    def __init__(self, bgr: np.ndarray):
        self.bgr = bgr

    @cached_property
    def stored(self) -> np.ndarray:
        """The frame (H, W, 3) uint8 RGB as `storage.frames` would return it."""
        return decode(encode(self.bgr), cv2.IMREAD_COLOR_RGB)


Held = Mapping[int, Decoded]  # frames by index


class Feed(ABC):
    """Makes the pictures of one stream for an instant of a video, from a bounded number of decoded frames.

    Attributes:
        span: largest distance between the first and the last frame that a sample needs, in frames, plus one.
    """

    span: int

    @abstractmethod
    def frames(self, instant: int, n_frames: int) -> Sequence[int]:
        """Indices of the frames that the sample at the frame `instant` needs, in ascending order.

        Args:
            instant: index of a frame.
            n_frames: number of frames of the video; `ENDLESS` if the end is not read yet.

        Raises:
            ValueError: the video is too short for a sample.
        """

    @abstractmethod
    def pictures(self, instant: int, n_frames: int, held: Held) -> Pictures:
        """The pictures that `Modality.see` takes, from the frames of `frames`."""

    @abstractmethod
    def forget(self, before: int) -> None:
        """Drop the data of frames with smaller indices than `before`."""


class FrameFeed(Feed):
    """Frames around an instant; see `storage.frames.window`."""

    def __init__(self, modality: FrameWindow):
        self.window, self.stride = modality.window, modality.stride
        self.span = (modality.window - 1) * modality.stride + 1

    def frames(self, instant: int, n_frames: int) -> Sequence[int]:
        return frames.window(instant, n_frames, self.window, self.stride)

    def pictures(self, instant: int, n_frames: int, held: Held) -> Pictures:
        return [held[index].stored for index in self.frames(instant, n_frames)]

    def forget(self, before: int) -> None:
        pass  # frames themselves keep their pictures


class FlowFeed(Feed):
    """Flow fields around an instant, each estimated once and only if a sample needs the field.

    The fields of a sample are estimated in parallel, in threads, since OpenCV releases the GIL.

    Args:
        modality: with the settings of the flow.
        make: creates an estimator; called once for each thread, since OpenCV's estimators keep buffers.
        threads: number of threads.
    """

    def __init__(self, modality: Flow, make: Callable[[], Estimator], threads: int):
        self.settings, self.estimator = modality.stored, make()
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(threads, "flow", lambda: setattr(self._own, "estimator", make()))
        self.length, self.stride = modality.fields, modality.stride
        self.span = (modality.fields - 1) * modality.stride + 2
        self._fields: dict[int, np.ndarray] = {}
        self._inputs: dict[int, np.ndarray] = {}  # frames as the estimator takes them

    def frames(self, instant: int, n_frames: int) -> Sequence[int]:
        fields = self._indices(instant, n_frames)
        return sorted({*fields, *(index + 1 for index in fields)})

    def pictures(self, instant: int, n_frames: int, held: Held) -> Pictures:
        indices = self._indices(instant, n_frames)
        runs = list(_runs([index for index in indices if index not in self._fields], self.estimator.batch))
        inputs = [[self._input(index, held) for index in range(run.start, run.stop + 1)] for run in runs]
        for run, fields in zip(runs, self._pool.map(self._estimate, inputs), strict=True):
            self._fields.update(zip(run, fields, strict=True))
        return np.stack([self._fields[index] for index in indices])

    def forget(self, before: int) -> None:
        for kept in (self._fields, self._inputs):
            for index in [index for index in kept if index < before]:
                del kept[index]

    def _indices(self, instant: int, n_frames: int) -> Sequence[int]:
        return stack_indices(instant, n_frames - 1, self.length, self.stride)

    def _estimate(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The fields between consecutive frames: codes (2, H, W) uint8 as `storage.flow` would return them."""
        try:
            found = self._own.estimator.fields(inputs)
        except cv2.error as error:
            raise ActionRecError(
                f"{self.settings.algorithm} fails on the frames ({error.err}); cut the video"
            ) from None
        codes = [as_picture(quantize(each, self.settings.bound)) for each in found]
        read = [decode(encode(each), cv2.IMREAD_GRAYSCALE) for each in codes]
        return [each.reshape(2, -1, each.shape[1]) for each in read]

    def _input(self, index: int, held: Held) -> np.ndarray:
        if index not in self._inputs:
            code = cv2.COLOR_BGR2RGB if self.estimator.colour else cv2.COLOR_BGR2GRAY
            frame = cv2.cvtColor(held[index].bgr, code)
            side = self.settings.short_side
            self._inputs[index] = resize_short_side(frame, side) if side else frame
        return self._inputs[index]


def create_feed(modality: Modality, trust: Sequence[str] = ()) -> Feed:
    """Create the feed of a modality.

    Args:
        modality: of a checkpoint's stream.
        trust: the user's own modules, of which the checkpoint may name an estimator of flow.

    Raises:
        ActionRecError: the modality is made neither from frames nor from flow, or see `check_flow`.
    """
    if isinstance(modality, FrameWindow):
        return FrameFeed(modality)
    if isinstance(modality, Flow):
        check_flow(modality, trust)
        algorithm, params = modality.stored.algorithm, modality.stored.params
        threads = usable_cores() if algorithm in THREADED else 1
        return FlowFeed(modality, partial(create, algorithm, params), threads)
    raise ActionRecError(
        f"the stream {modality.label} reads files of its own, so it cannot be predicted; derive its class from "
        "actionrec.streams.window.FrameWindow"
    )


def check_flow(modality: Flow, trust: Sequence[str]) -> None:
    """Raise unless the flow that a network was trained with can be estimated, by code that the user trusts.

    Raises:
        ActionRecError: another program has computed the flow of the training, a parameter is out of its range, or the
            estimator is neither of this project nor of a module of `trust`.
    """
    algorithm, params = modality.stored.algorithm, modality.stored.params
    if algorithm == IMPORTED:
        raise ActionRecError(
            "the network was trained with imported flow, which actionrec cannot compute; predict with a network that "
            "was trained with flow of actionrec extract_flow"
        )
    if is_own(algorithm):  # the checkpoint may come from a stranger, and `create` would import and call it
        try:
            check_target(algorithm, "flow.algorithm", set(), trust)
        except UnfitError as error:
            raise ActionRecError(f"the checkpoint's {error}") from None
    for name, value in params.items():
        if check := FLOW_PARAMS.get(algorithm, {}).get(name):
            require(f"flow.params.{name}", value, check)


def _runs(indices: Sequence[int], longest: int) -> Iterator[range]:
    """Ascending indices as ranges of consecutive indices, each of at most `longest`."""
    start = 0
    for end in range(1, len(indices) + 1):
        if end == len(indices) or indices[end] != indices[end - 1] + 1 or end - start == longest:
            yield range(indices[start], indices[end - 1] + 1)
            start = end
