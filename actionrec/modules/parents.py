"""Initialisation of a stage from the checkpoints of earlier stages, its parents."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actionrec import streams as modalities
from actionrec.datasets.actions import BACKGROUND
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import read
from actionrec.modules.earlier import CONSTANTS, PREFIX
from actionrec.networks.stream import Stream, members_of
from actionrec.networks.streams import MultiStream
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256

ALONE = "parent"  # the role of a single stream's parent
_HEAD = ("head.weight", "head.bias")


@dataclass(frozen=True)
class Parent:
    """A checkpoint that a stage starts from."""

    path: Path
    checkpoint: dict[str, Any]

    @property
    def lineage(self) -> dict[str, Any]:
        """The checkpoint's lineage, see `checkpoint.Lineage`."""
        return self.checkpoint["lineage"]

    def architecture(self) -> dict[str, Any]:
        """Settings of a backbone for this parent's weights: no pretrained weights, and the image size if fixed."""
        settings = self.checkpoint.get("hyper_parameters", {})
        backbones = [settings.get(name, {}).get("backbone", {}) for name in self.streams]
        sizes = [backbone["image_size"] for backbone in backbones if "image_size" in backbone]
        return {"weights": None, **({"image_size": sizes[0]} if sizes else {})}

    @property
    def streams(self) -> dict[str, dict[str, Any]]:
        """The parent's streams: by name, the settings of the stream's modality."""
        return self.lineage["inputs"].get("streams", {})

    def weights(self) -> dict[str, Tensor]:
        """The weights of the parent's network, by name."""
        return {key.removeprefix(PREFIX): value for key, value in self.checkpoint["state_dict"].items()}

    def record(self) -> dict[str, Any]:
        """The entry for this parent in a child's lineage."""
        own = {key: value for key, value in self.lineage.items() if key != "trained_on"}
        return {"path": str(self.path), "sha256": sha256(self.path), **own}


def open_parents(
    init_from: str | Mapping[str, str | None] | None, streams: Sequence[str], trust: Sequence[str] = ()
) -> dict[str, Parent]:
    """Read the parents that `init_from` names, by role; see `checkpoint.read`.

    Args:
        init_from: for a network of one stream a path, whose role is `parent`; for several streams a path for each
            stream by name, or None for a stream without a parent.
        streams: names of the network's streams.
        trust: see `checkpoint.read`.

    Raises:
        ActionRecError: `init_from` does not fit the streams, or a file is no checkpoint of this project.
    """
    if not init_from:
        return {}
    if len(streams) > 1:
        if isinstance(init_from, str) or set(init_from) != set(streams):
            wanted = " and ".join(f"init_from.{name}" for name in streams)
            raise ActionRecError(f"init_from of several streams needs {wanted}; use null for a stream without a parent")
        named = {name: (path, f"init_from.{name}") for name, path in init_from.items() if path}
    elif isinstance(init_from, str):
        named = {ALONE: (init_from, "init_from")}
    elif set(init_from) == set(streams):
        [(name, path)] = init_from.items()
        named = {ALONE: (path, f"init_from.{name}")} if path else {}
    else:
        raise ActionRecError("init_from of one stream is one path; write init_from=outputs/…/best.ckpt")
    return {role: Parent(Path(path), read(Path(path), key, trust)) for role, (path, key) in named.items()}


def open_members(places: Mapping[str, Sequence[Path]], trust: Sequence[str] = ()) -> dict[str, list[Parent]]:
    """Read the checkpoints of the further networks of each stream of a bagged network.

    Args:
        places: by stream, see `runs.folds.members`.
        trust: see `checkpoint.read`.

    Raises:
        ActionRecError: a file is no checkpoint of this project.
    """
    return {
        name: [Parent(path, read(path, f"init_from.{name}", trust)) for path in paths] for name, paths in places.items()
    }


def check_parent(parent: Parent, split: int | None, held_out: Iterable[str], training: Iterable[str] = ()) -> None:
    """Raise if a parent was trained on records that this stage is measured on, or on another split of its data set.

    Splits of two data sets have nothing to do with each other. A parent is of the same data set if it was trained on
    any of this stage's records.

    Args:
        parent: the checkpoint to start from.
        split: official split of this stage's data; None for data with a single split.
        held_out: names of the records of this stage's validation and test parts.
        training: names of the records of its training part.
    """
    theirs, trained_on, held_out = parent.lineage["split"], set(parent.lineage["trained_on"]), set(held_out)
    differs = theirs is not None and split is not None and theirs != split
    if differs and trained_on & held_out.union(training):
        raise ActionRecError(
            f"{parent.path} was trained on split {theirs}, this stage is split {split} of the same data set: its "
            f"training clips are among your test clips; train the parent on split {split}"
        )
    if seen := trained_on & held_out:
        raise ActionRecError(
            f"{parent.path} was trained on {len(seen)} of the clips that this stage is measured on "
            f"(first: {min(seen)}); train the parent on the same split of the same data"
        )


def start_from(
    module: ActionModule, parents: Mapping[str, Parent], members: Mapping[str, Sequence[Parent]] | None = None
) -> list[str]:
    """Copy the parents' weights into a module, in place; returns a line of text for each parent about the copy.

    All layers but the head must match; rows of the head are carried over by action name. The normalisation constants
    are copied with the weights, because the weights were trained with them.

    Args:
        module: of the stage.
        parents: by role, see `open_parents`.
        members: parents of the further networks of each stream, see `open_members`.
    """
    lines = []
    for role, parent in parents.items():
        name = next(iter(module.streams)) if role == ALONE else role
        for network, each in zip(
            members_of(module.streams[name]), [parent, *(members or {}).get(name, ())], strict=False
        ):
            _check_parent(module, name, network, each)
            lines.append(_start_stream(network, module.actions, each))
    if isinstance(module.network, MultiStream):
        module.network.start_as_average()
    return lines


def carry_head(
    head: nn.Linear, actions: Sequence[str], weight: Tensor, bias: Tensor, parent_actions: Sequence[str]
) -> list[str]:
    """Copy the rows of the actions that both heads have; all other rows keep their fresh values.

    Args:
        head: (K, F), changed in place.
        actions: its K actions.
        weight, bias: (P, F) and (P,) of the parent's head.
        parent_actions: its P actions.

    Returns:
        The actions carried over, in the head's order.
    """
    row_of = {action: row for row, action in enumerate(parent_actions)}
    carried = [action for action in actions if action in row_of]
    with torch.no_grad():
        for row, action in enumerate(actions):
            if action in row_of:
                head.weight[row] = weight[row_of[action]]
                head.bias[row] = bias[row_of[action]]
    return carried


def _start_stream(stream: Stream, actions: Sequence[str], parent: Parent) -> str:
    state = parent.weights()
    weight, bias = (state.pop(key) for key in _HEAD)
    stream.load_state_dict(state, strict=False)  # only the head may be missing, _check_layers has compared the keys
    known = parent.lineage["actions"]
    carried = carry_head(stream.head, actions, weight, bias, known)
    return (
        f"{parent.path}: {len(state)} tensors of {parent.lineage['stage']}; head {len(known)} → {len(actions)}: "
        f"{len(carried)} carried over by name, {len(actions) - len(carried)} fresh"
    )


def _check_parent(module: ActionModule, name: str, stream: Stream, parent: Parent) -> None:
    """Raise unless a parent has one stream, with the layers of `stream` and the modality of the module's `name`."""
    if len(parent.streams) > 1:
        raise ActionRecError(
            f"{parent.path} is a network of several streams ({', '.join(parent.streams)}); start {name} from a "
            "checkpoint of one stream"
        )
    state = parent.weights()
    _check_layers(stream, state, parent)
    _check_normalisation(stream, state, parent)
    own = module.inputs["streams"][name]
    if len(module.streams) > 1 and BACKGROUND in set(module.actions) - set(parent.lineage["actions"]):
        raise ActionRecError(  # streams may be frozen, or fused without any training
            f"{parent.path} has no class {BACKGROUND}, which this network of several streams has; train the parent "
            "with data.background=<folder>, too"
        )
    for theirs, seen in parent.streams.items():
        if seen["_target_"] != own["_target_"]:
            raise ActionRecError(f"{parent.path} sees {theirs}; start {name} from a stream that sees the same")
        if _constants(seen) != _constants(own):  # such as those of displacements and of their lengths
            other = ", ".join(f"{key}={seen[key]}" for key in sorted(seen) if key in own and seen[key] != own[key])
            raise ActionRecError(
                f"{parent.path} sees {theirs} of {other}, whose values mean something else than those of this stage; "
                f"start {name} from a stream that sees the same"
            )


def _constants(settings: Mapping[str, Any]) -> Any:
    """The normalisation of a stream's input, for the same backbone."""
    return modalities.create(settings).normalisation((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))


def _check_layers(stream: Stream, state: Mapping[str, Tensor], parent: Parent) -> None:
    """Raise unless the parent has this stream's layers; the head may have other rows."""
    own = stream.state_dict()
    if missing := set(own) ^ set(state):
        raise ActionRecError(
            f"{parent.path} has another backbone ({_backbone(parent)}): {len(missing)} layers are in one network only "
            f"(first: {min(missing)}); set backbone to match, or train the parent with this one"
        )
    for key, value in state.items():
        if key in (*_HEAD, *CONSTANTS) or value.shape == own[key].shape:
            continue
        if value.dim() == 4 and value.shape[0] == own[key].shape[0] and value.shape[2:] == own[key].shape[2:]:
            raise ActionRecError(
                f"{parent.path} takes {value.shape[1]} channels, this network {own[key].shape[1]} (at {key}); "
                "start from a stream of the same modality with the same settings"
            )
        raise ActionRecError(
            f"{parent.path} has another backbone ({_backbone(parent)}): {key} is "
            f"{tuple(value.shape)}, here {tuple(own[key].shape)}; set backbone to match"
        )


def _check_normalisation(stream: Stream, state: Mapping[str, Tensor], parent: Parent) -> None:
    """Raise unless the parent's mean and std have this stream's shape, and equal the user's, if the user sets any."""
    own = stream.state_dict()
    for key in CONSTANTS:
        if state[key].shape != own[key].shape:
            raise ActionRecError(
                f"{parent.path} normalises {state[key].shape[1]} channels, this network {own[key].shape[1]}; start "
                "from a stream of the same modality with the same settings"
            )
        if stream.backbone.custom_constants and not torch.allclose(state[key], own[key], rtol=1e-4):
            raise ActionRecError(
                f"{parent.path} was trained with a {key} of {_listed(state[key])}, backbone.mean and backbone.std give "
                f"{_listed(own[key])} (in units of 0 to 255); leave both null, or train the parent with both"
            )


def _listed(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]


def _backbone(parent: Parent) -> str:
    return ", ".join(str(backbone.get("name")) for backbone in parent.lineage["backbone"].values())
