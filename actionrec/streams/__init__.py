"""Modalities: the kinds of input that a stream of a network can take, one module each."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from actionrec.streams.base import Modality
from actionrec.system.classes import concrete

__all__ = ["Modality", "create", "create_all"]


def __getattr__(name: str) -> Any:
    """The modality of that class name, in whichever module of this package, such as `actionrec.streams.Flow`."""
    if name[:1].isupper():
        for full, kind in concrete(__name__, Modality).items():
            if full.rpartition(".")[2] == name:
                return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def create(settings: Mapping[str, Any]) -> Modality:
    """Create a modality from its `Modality.settings`; it has no folders, so it cannot read samples."""
    arguments = dict(settings)
    return get_class(arguments.pop("_target_"))(**arguments)


def create_all(inputs: Mapping[str, Any]) -> dict[str, Modality]:
    """Create the modalities of a data module's or a checkpoint's `inputs`, by stream name, without folders."""
    return {name: create(settings) for name, settings in inputs["streams"].items()}
