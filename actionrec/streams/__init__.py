"""Modalities: the kinds of input that a stream of a network can take, one module each."""

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
    """Create a modality from its `Modality.settings`; it has no folders, so it cannot read samples."""
    arguments = dict(settings)
    return get_class(arguments.pop("_target_"))(**arguments)


def create_all(inputs: Mapping[str, Any]) -> dict[str, Modality]:
    """Create the modalities of a data module's or a checkpoint's `inputs`, by stream name, without folders."""
    return {name: create(settings) for name, settings in inputs["streams"].items()}
