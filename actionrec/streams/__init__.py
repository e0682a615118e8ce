"""Modalities: what a stream of a network sees of a clip, one module for each."""

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
    """The modality that `Modality.settings` describes, without the places that it reads from."""
    arguments = dict(settings)
    return get_class(arguments.pop("_target_"))(**arguments)


def create_all(inputs: Mapping[str, Any]) -> dict[str, Modality]:
    """The modalities of a data module's or a checkpoint's `inputs`, by the name of the stream, without places."""
    return {name: create(settings) for name, settings in inputs["streams"].items()}
