"""Checkpoints of earlier versions, made what they would be today."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from actionrec.networks.backbone import IMAGENET_MEAN, IMAGENET_STD

PREFIX = "network."  # of a checkpoint's weights
CONSTANTS = ("mean", "std")  # of a stream's input, among its weights


def add_normalisation(checkpoint: dict[str, Any]) -> None:
    """Give a checkpoint the constants that it was trained with, in place, where it is of before they were kept in it.

    Frames had ImageNet's and flow those of TSN, whatever the backbone. torchvision's pretrained `googlenet` and
    `inception_v3` turned ImageNet's into 0.5/0.5 inside, which they do not any more.
    """
    state, lineage = checkpoint["state_dict"], checkpoint.get("lineage", {})
    two = any(key.startswith(f"{PREFIX}frame.backbone.") for key in state)
    alone = "flow" if lineage.get("model") == "FlowModule" else "frame"
    for role, prefix in {"frame": "frame.", "flow": "flow."}.items() if two else {alone: ""}.items():
        if f"{PREFIX}{prefix}mean" in state:
            continue
        mean: tuple[float, ...] = IMAGENET_MEAN
        std: tuple[float, ...] = IMAGENET_STD
        if role == "flow":
            mean = (0.0 if lineage.get("inputs", {}).get("representation") == "magnitude" else 128.0,)
            std = (57.63,)
        elif _changed_its_input(lineage, "frame" if two else "parent"):
            mean = std = (127.5,) * 3
        for key, values in zip(CONSTANTS, (mean, std), strict=True):
            state[f"{PREFIX}{prefix}{key}"] = torch.tensor(values).view(1, -1, 1, 1)


def _changed_its_input(lineage: Mapping[str, Any], role: str) -> bool:
    """Whether a frame stream of before was trained in torchvision's `transform_input`, which came with its weights."""
    backbone = lineage.get("backbone", {})
    backbone = backbone.get(role, backbone)
    weights = backbone.get("weights")
    named = isinstance(weights, str) and "/" not in weights and not Path(weights).suffix
    return backbone.get("name") in ("googlenet", "inception_v3") and named and role not in lineage.get("parents", {})
