"""The interface of a modality: how one stream's input is read, augmented, normalised and shown as a picture.

A modality is one module of this package and one file in `conf/stream/`. Networks, data modules, plots and report pages
use modalities through this interface only.
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
    """The input of one stream for a clip at one instant.

    A modality has the folders from which it reads if it is created for a data module. It has none if only the shape and
    the normalisation of its samples are needed, as for a loaded checkpoint.

    Attributes:
        label: name in tables and legends.
        colour: colour of bars and lines, `#rrggbb`, from the colour-blind safe palette of Okabe and Ito.
        hatch: hatch of bars, which distinguishes streams in greyscale prints.
        of_stills: whether `see` can make a sample from the picture of a still.
    """

    label: ClassVar[str]
    colour: ClassVar[str]
    hatch: ClassVar[str]
    of_stills: ClassVar[bool] = False

    @classmethod
    def key(cls, setting: str) -> str:
        """Full key of a setting in `conf/stream/`, for messages."""
        return f"data.{cls.label.lower().replace(' ', '_')}.{setting}"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings that determine the values of samples, as plain types and without folders.

        Checkpoints keep these settings; `create(settings)` of this package creates the modality again without folders.
        """

    @abstractmethod
    def shape(self, size: int) -> tuple[int, ...]:
        """Shape of a sample: (C, size, size) for a picture, (3, T, size, size) for several frames."""

    @abstractmethod
    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        """Mean and standard deviation of the input in units of uint8: one value, or one value per channel.

        Args:
            mean, std: constants of R, G and B with which the backbone's weights were trained, in units of uint8.
        """

    @abstractmethod
    def check(self, clips: Sequence[Clip]) -> None:
        """Raise ActionRecError if an input is missing that `prepare` cannot make, such as flow."""

    @abstractmethod
    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        """Make inputs that take seconds to make, such as extracted frames.

        Args:
            clips: clips whose samples will be read.
            fractions: instants of these samples, as fractions of a clip.
            workers: number of processes.
        """

    @abstractmethod
    def frames_of(self, clip: Clip) -> int:
        """Number of frames of a clip, by this modality's files."""

    @abstractmethod
    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        """The pictures needed for samples at these frames; for one frame, in the order that `see` takes."""

    @abstractmethod
    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        """Make a sample from the pictures of one instant under a view, `shape(size)` uint8.

        Args:
            pictures: the pictures of `source(clip, [instant])`; must not be written to.
            view: crop, flip and rotation, shared by all streams of a sample.
            size: side of the sample in pixels.
            augmentation: augmentation of training, whose colour jitter applies to RGB streams; None in evaluation.
            rng: generator for the colour jitter.
        """

    @abstractmethod
    def picture(self, sample: Tensor) -> np.ndarray:
        """A sample as a picture (S, S, 3) uint8 RGB for display."""


def place(folder: Path | None, modality: Modality) -> Path:
    """The folder from which a modality reads.

    Raises:
        ActionRecError: the modality was created without a folder.
    """
    if folder is None:
        raise ActionRecError(f"{modality.key('folder')} is not set; set it to the folder from which samples are read")
    return folder
