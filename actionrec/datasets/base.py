"""The interface of a data set: an index of its records by part, its lists, and its files on disk.

Hydra creates a data set from `conf/dataset/<name>.yaml`. To add a data set, write a module with a subclass of `ClipSet`
or `StillSet`, and that file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from actionrec.datasets.records import Clip, Release, Splits, Still


class DataSet(ABC):
    """A data set on this disk."""

    kind: ClassVar[str]  # kind of the records: clips or stills
    name: str
    split: int | None = None  # number of the official split; None if the data set has one split only

    @abstractmethod
    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        """The class list, in the order of the labels, and the records of each part.

        Args:
            actions: see `actions.class_list`.
            strict: whether a listed file that is missing on disk is an error; otherwise it is left out with a warning.

        Raises:
            ActionRecError: a folder is missing, a list cannot be read, a part has no record, or two clips of an action
                share a name.
        """

    def look(self, actions: str | Sequence[str]) -> tuple[tuple[str, ...], Splits]:
        """As `index` without `strict`, and without writing anything, as a set may that draws its split."""
        return self.index(actions, strict=False)

    @abstractmethod
    def lists(self) -> list[Path]:
        """The existing list files, which assign records to parts; a run's manifest keeps their hashes."""

    def official_splits(self) -> list[int]:
        """Numbers of the official splits whose lists are there; empty for a data set with one split only."""
        return []


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
        """Every clip of the actions on disk, in any split or in none; flow is extracted for these clips.

        Raises:
            ActionRecError: there is no clip, an action is unknown, or two clips of an action share a name.
        """


class StillSet(DataSet):
    """A data set of images."""

    kind = "stills"

    @abstractmethod
    def stills(self, actions: str | Sequence[str]) -> list[Still]:
        """Every listed image of the actions on disk.

        Raises:
            ActionRecError: there is no image, or an action is unknown.
        """


def create(section: Mapping[str, Any]) -> DataSet:
    """Create the data set of a composed `dataset` section."""
    from hydra.utils import instantiate

    return instantiate(section, _convert_="all")
