"""Modalities: what a stream of a network sees of a clip, one module for each."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from actionrec.streams.base import Modality
from actionrec.streams.clip import Clip
from actionrec.streams.dynamic_image import DynamicImage
from actionrec.streams.flow import Flow
from actionrec.streams.frame import Frame
from actionrec.streams.rgb_difference import RGBDifference

__all__ = ["Clip", "DynamicImage", "Flow", "Frame", "Modality", "RGBDifference", "create", "create_all"]


def create(settings: Mapping[str, Any]) -> Modality:
    """The modality that `Modality.settings` describes, without the places that it reads from."""
    arguments = dict(settings)
    return get_class(arguments.pop("_target_"))(**arguments)


def create_all(inputs: Mapping[str, Any]) -> dict[str, Modality]:
    """The modalities of a data module's or a checkpoint's `inputs`, by the name of the stream, without places."""
    return {name: create(settings) for name, settings in inputs["streams"].items()}
