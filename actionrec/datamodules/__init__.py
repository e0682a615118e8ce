"""LightningDataModules, thin over data sets and streams."""

from typing import Any

from actionrec.datamodules.base import ActionDataModule
from actionrec.datamodules.clips import ClipDataModule
from actionrec.datamodules.named import STREAMS, USUAL
from actionrec.datamodules.stills import StillDataModule
from actionrec.datasets.background import with_background
from actionrec.datasets.base import ClipSet, DataSet, StillSet
from actionrec.streams import Modality
from actionrec.system.errors import ActionRecError

__all__ = ["ClipDataModule", "StillDataModule", "create", *USUAL]

INSTANTS = ("position", "segments")  # settings of clips that stills do not have


def __getattr__(name: str) -> Any:
    """The usual pairs of a data set and its streams, such as `HMDB51FlowDataModule`; see `named`."""
    if name in USUAL:
        return USUAL[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def create(dataset: DataSet, background: str | None = None, **options: Any) -> ActionDataModule:
    """Create the data module of a data set and its streams.

    The class is named after the data set and the streams, such as `HMDB51FlowDataModule`, if there is such a class;
    otherwise it is `ClipDataModule` or `StillDataModule`.

    Args:
        dataset: the data set, see `datasets.base`.
        background: folder of clips of none of the actions, see `datasets.background`.
        options: options of the class; options of type `streams.Modality` are the streams, by name.

    Raises:
        ActionRecError: options of clips are given for stills, or options of stills for clips.
    """
    if not isinstance(dataset, ClipSet | StillSet):
        raise ActionRecError(f"data.dataset: {type(dataset).__name__} is no data set; choose one with dataset=")
    instants = [key for key in INSTANTS if key in options]
    if isinstance(dataset, StillSet) and instants:
        raise ActionRecError(
            f"data.{instants[0]}: stills have no instants; use data=stills with dataset={dataset.name}"
        )
    if isinstance(dataset, ClipSet) and len(instants) < len(INSTANTS):
        raise ActionRecError(f"dataset={dataset.name} has clips, which need data.position and segments; use data=clips")
    streams = tuple(sorted(name for name, each in options.items() if isinstance(each, Modality)))
    kind: type[ActionDataModule] = ClipDataModule if isinstance(dataset, ClipSet) else StillDataModule
    if type(dataset).__module__.startswith("actionrec.datasets."):
        kind = USUAL.get(f"{type(dataset).__name__}{STREAMS.get(streams, '')}DataModule", kind)
    return kind(dataset=with_background(dataset, background), **options)
