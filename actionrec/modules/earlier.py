"""Conversion of checkpoints of earlier versions to the form of this version.

Version 1 had networks of a frame, of a stack of flow, or of both, and distinguished the three by argument names.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from actionrec import streams
from actionrec.networks.weights import IMAGENET_MEAN, IMAGENET_STD

PREFIX = "network."  # of the names of a checkpoint's weights
CONSTANTS = ("mean", "std")  # buffers of a stream with the normalisation of its input
_STREAMS = {"FrameModule": ("frame",), "FlowModule": ("flow",), "TwoStreamModule": ("frame", "flow")}


def renew(checkpoint: dict[str, Any]) -> None:
    """Convert a checkpoint, in place, to the form of this version; a checkpoint of this version stays unchanged.

    The hyper-parameters, the lineage, and the normalisation constants among the weights may change.

    Args:
        checkpoint: `state_dict`, and optionally `lineage` and `hyper_parameters`, both already checked.
    """
    lineage = checkpoint.get("lineage") or {}
    if "streams" in lineage.get("inputs", {}):
        return
    names = _names(lineage)
    if "hyper_parameters" in checkpoint:
        checkpoint["hyper_parameters"] = _hyper_parameters(checkpoint["hyper_parameters"], names)
    if lineage:
        checkpoint["lineage"] = lineage = _lineage(lineage)
    if not any(re.fullmatch(rf"{PREFIX}(\w+\.)?mean", key) for key in checkpoint["state_dict"]):
        _add_normalisation(checkpoint["state_dict"], lineage, names)


def _names(lineage: Mapping[str, Any]) -> Sequence[str]:
    """Names of the streams of a network, from its lineage."""
    if known := _STREAMS.get(lineage.get("model", "")):
        return known
    if "flow" in lineage.get("backbone", {}):  # a user's class
        return _STREAMS["TwoStreamModule"]
    return _STREAMS["FlowModule" if "fields" in lineage.get("inputs", {}) else "FrameModule"]


def _hyper_parameters(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    old = {"backbone": names[0], **{f"{name}_backbone": name for name in ("frame", "flow")}}
    found = {key: value for key, value in said.items() if key not in old}
    found |= {old[key]: {"backbone": value} for key, value in said.items() if key in old}
    return {**found, "inputs": _inputs(said["inputs"], names)} if "inputs" in said else found


def _inputs(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    settings = {key: inputs[key] for key in ("fields", "stride", "representation") if key in inputs}
    seen = {
        "frame": {"_target_": "actionrec.streams.Frame"},
        "flow": {"_target_": "actionrec.streams.Flow", **inputs.get("flow", {"algorithm": "unknown"}), **settings},
    }
    shared = {key: inputs[key] for key in ("size", "position") if key in inputs}
    return {**shared, "streams": {name: seen[name] for name in names}}


def _lineage(lineage: Mapping[str, Any]) -> dict[str, Any]:
    names = _names(lineage)
    found = dict(lineage)
    if "inputs" in found:
        found["inputs"] = _inputs(found["inputs"], names)
    if "name" in found.get("backbone", {}):
        found["backbone"] = {names[0]: found["backbone"]}
    constants = found.get("normalisation", {})
    if "input" in constants:
        found["normalisation"] = {names[0]: constants["input"]}
    if "parents" in found:
        found["parents"] = {role: _lineage(parent) for role, parent in found["parents"].items()}
    return found


def _add_normalisation(state: dict[str, Any], lineage: Mapping[str, Any], names: Sequence[str]) -> None:
    """Add the normalisation constants to the weights of a network that was saved without them.

    Such a network was trained with ImageNet's constants on frames and TSN's on flow, with every backbone.
    torchvision's pretrained `googlenet` and `inception_v3` then converted the input from ImageNet's constants to
    0.5/0.5 (`transform_input`); the networks of this version do not.
    """
    alone = len(names) == 1
    for name in names:
        prefix = PREFIX if alone else f"{PREFIX}{name}."
        changed = _changed_its_input(lineage, name, "parent" if alone else name)
        pictures = ((127.5,) * 3, (127.5,) * 3) if changed else (IMAGENET_MEAN, IMAGENET_STD)
        seen = (lineage.get("inputs") or _inputs({}, names))["streams"][name]
        for key, values in zip(CONSTANTS, streams.create(seen).normalisation(*pictures), strict=True):
            state[f"{prefix}{key}"] = torch.tensor(values).view(1, -1, 1, 1)


def _changed_its_input(lineage: Mapping[str, Any], name: str, role: str) -> bool:
    """Whether a frame stream of version 1 used `transform_input`, which torchvision's weights switched on."""
    backbone = lineage.get("backbone", {}).get(name, {})
    weights = backbone.get("weights")
    named = isinstance(weights, str) and "/" not in weights and not Path(weights).suffix
    return backbone.get("name") in ("googlenet", "inception_v3") and named and role not in lineage.get("parents", {})
