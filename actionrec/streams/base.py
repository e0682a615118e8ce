"""The contract of a modality: what one stream sees of a clip, and how that is read, viewed, pictured and normalised.

A modality is one module here and one file in `conf/stream/`. Networks, data modules, plots and pages know modalities
by this contract alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from actionrec.datasets.records import Clip
from actionrec.storage.cache import Pictures, Source
from actionrec.streams.transforms import Augmentation, View
from actionrec.system.errors import ActionRecError

Constants = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation, in units of uint8


class Modality(ABC):
    """What one stream sees of a clip at one instant.

    A modality is made with the places that it reads from (`create` of a data module), or without them, where only the
    shape and the normalisation of its samples are asked for, as when a checkpoint is loaded.

    Attributes:
        label: name in tables and legends.
        colour: of its bars and lines, `#rrggbb`; of Okabe and Ito, which colour-blind people can tell apart.
        hatch: of its bars, so that a print in grey tells streams apart as well.
        of_stills: whether a sample can be made of one still, whose picture `see` is then given.
    """

    label: ClassVar[str]
    colour: ClassVar[str]
    hatch: ClassVar[str]
    of_stills: ClassVar[bool] = False

    @classmethod
    def key(cls, setting: str) -> str:
        """Where `conf/stream/` has a setting, for messages."""
        return f"data.{cls.label.lower().replace(' ', '_')}.{setting}"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides the values that a network sees, as plain types and without places; kept in checkpoints.

        `create(settings)` of this package makes the modality again, without places.
        """

    @abstractmethod
    def shape(self, size: int) -> tuple[int, ...]:
        """Shape of a sample: (C, size, size) of a picture, (3, T, size, size) of several frames."""

    @abstractmethod
    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        """Mean and standard deviation of the input, one for all channels or one for each, in units of uint8.

        Args:
            mean, std: of R, G and B, that the weights of the backbone were trained with.
        """

    @abstractmethod
    def check(self, clips: Sequence[Clip]) -> None:
        """Raise ActionRecError where something is missing that no `prepare` can make, such as flow."""

    @abstractmethod
    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        """Make what reading needs and is made in seconds, such as frames that are taken out of their clips once.

        Args:
            clips: whose samples will be read.
            fractions: instants, as fractions of a clip, at which they will be.
            workers: processes.
        """

    @abstractmethod
    def frames_of(self, clip: Clip) -> int:
        """Number of frames of a clip."""

    @abstractmethod
    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        """The pictures that samples at those frames are made of; of one frame in the order that `see` takes."""

    @abstractmethod
    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        """A sample: the pictures of one instant under a view, `shape(size)` uint8.

        Args:
            pictures: what `source(clip, [instant])` reads; not to be written to.
            view: crop, flip and turn, which all streams of a sample share.
            size: side of the sample in pixels.
            augmentation: of training, whose colour jitter is for streams of colours; None in evaluation.
            rng: for that jitter.
        """

    @abstractmethod
    def picture(self, sample: Tensor) -> np.ndarray:
        """A sample as a picture (S, S, 3) uint8 RGB, for people."""


def place(folder: Path | None, modality: Modality) -> Path:
    """The folder that a modality reads from.

    Raises:
        ActionRecError: it was made without one.
    """
    if folder is None:
        raise ActionRecError(f"{modality.key('folder')} is not set, and samples are read from there")
    return folder
