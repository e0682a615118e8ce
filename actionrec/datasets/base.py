"""What a data set is to the rest of the project: places on disk, an index in parts, and what is there at all.

Hydra makes one of `conf/dataset/<name>.yaml`. A new data set is a module with a class of one of these shapes, and that
file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from actionrec.datasets.records import Clip, Release, Splits, Still


class DataSet(ABC):
    """A data set on this disk."""

    kind: ClassVar[str]  # of its records: clips or stills
    name: str
    split: int | None = None  # the official split, of a set that has several

    @abstractmethod
    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        """The class list, in the order of the labels, and the records of each part.

        Args:
            actions: see `actions.class_list`.
            strict: whether a listed file that is not on disk is an error, or left out with a word.

        Raises:
            ActionRecError: a place is missing, a list cannot be read, or a part has no record.
        """

    def look(self, actions: str | Sequence[str]) -> tuple[tuple[str, ...], Splits]:
        """As `index` without `strict`, and without writing anything, as a set may that draws its split."""
        return self.index(actions, strict=False)

    @abstractmethod
    def lists(self) -> list[Path]:
        """Files that say which record is on which side, of those that are there; a run keeps their hash."""


class ClipSet(DataSet):
    """A data set of video clips.

    Attributes:
        release: how its authors publish it, of a set with the fields `videos` and `splits`, which `actionrec prepare`
            fills; None of one that is read where it lies.
    """

    kind = "clips"
    release: ClassVar[Release | None] = None

    @abstractmethod
    def clips(self, actions: str | Sequence[str]) -> list[Clip]:
        """Every clip on disk of the actions, whatever the splits say of it: what flow is extracted for.

        Raises:
            ActionRecError: there is none, or the set does not know an action.
        """


class StillSet(DataSet):
    """A data set of images."""

    kind = "stills"

    @abstractmethod
    def stills(self, actions: str | Sequence[str]) -> list[Still]:
        """Every listed image on disk of the actions.

        Raises:
            ActionRecError: there is none, or the set does not know an action.
        """


def create(section: Mapping[str, Any]) -> DataSet:
    """The data set of a composed `dataset` section."""
    from hydra.utils import instantiate

    return instantiate(section, _convert_="all")
