"""Checks of a checkpoint's own description: its lineage, and the hyper-parameters that rebuild its network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actionrec.settings.untrusted import allowed
from actionrec.settings.untrusted.data import ACTIONS, SEED, inputs, stream_names
from actionrec.settings.untrusted.targets import NAME, target_with
from actionrec.settings.values import (
    SHA256,
    Check,
    UnfitError,
    either,
    integer,
    list_of,
    mapping,
    mapping_of,
    number,
    one_of,
    optional,
    pattern,
    table,
    text,
    worded,
)
from actionrec.system.errors import ActionRecError

MAX_GENERATIONS = 12  # of a lineage
_MEND = "it is no checkpoint of this version of actionrec, or it was tampered with; train the stage again"


def _hint(error: UnfitError) -> str:
    """How to fix a checkpoint, unless the error itself says it."""
    return "" if "trust=" in str(error) else f"; {_MEND}"


_CONSTANTS = list_of(number(-1e6, 1e6), shortest=1, longest=4096)  # a mean or standard deviation of each channel

# Arguments of `networks.backbone.create`.
BACKBONE: dict[str, Check] = {
    "name": pattern(r"(timm:)?\w[\w.\-]*", "the name of a backbone"),
    "weights": optional(text(4096)),
    "stem": text(50),
    "mean": optional(_CONSTANTS),
    "std": optional(_CONSTANTS),
    "image_size": optional(integer(1, 2048)),
}
_BACKBONE = table(BACKBONE, ("name",))


def _model(value: Any, place: str = "") -> None:
    one_of(*allowed.module_names())(value, place)


def _backbones(value: Any, place: str = "") -> None:
    """The backbone of each stream; networks of one stream of version 1 have a backbone without the stream's name."""
    alone = isinstance(value, Mapping) and "name" in value and not isinstance(value["name"], Mapping)
    (_BACKBONE if alone else mapping_of(NAME, _BACKBONE))(value, place)


# Fields of `modules.checkpoint.Lineage`, except `inputs`, which depends on `trust`, and `parents`, which is recursive.
LINEAGE: dict[str, Check] = {
    "model": _model,
    "stage": text(200),
    "data": text(200),
    "split": optional(integer(0, 1000)),
    "seed": SEED,
    "actions": ACTIONS,
    "backbone": _backbones,
    "trained_on": list_of(text(1000, resolved=False), longest=10_000_000),  # names of records
    "versions": mapping_of(text(100), text(200)),
    "normalisation": mapping_of(NAME, table({"mean": _CONSTANTS, "std": _CONSTANTS}, ("mean", "std"))),
}
_NEEDED = ("model", "stage", "data", "split", "seed", "actions", "backbone", "inputs", "trained_on")
_FILE = {"path": text(4096, resolved=False), "sha256": SHA256}  # a parent has these in place of `trained_on`


def check_lineage(lineage: Any, path: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """A checkpoint's `lineage`, with the keys, types and ranges of `LINEAGE`.

    Args:
        lineage: as the file has it.
        path: the file, for the message.
        trust: see `check_targets`.

    Returns:
        The lineage, with empty `parents` and `versions` where it has none.

    Raises:
        ActionRecError: the lineage has an unknown key, lacks one, or a value is out of range.
    """
    try:
        return _checked_lineage(lineage, "lineage", {**LINEAGE, "inputs": inputs(trust)}, _NEEDED, 0)
    except UnfitError as error:
        raise ActionRecError(f"{path}: {error}{_hint(error)}") from None


def _checked_lineage(
    lineage: Any, place: str, known: Mapping[str, Check], needed: Sequence[str], generation: int
) -> dict[str, Any]:
    mapping()(lineage, place)
    if generation > MAX_GENERATIONS:
        raise UnfitError(f"{place[:60]}… has more than {MAX_GENERATIONS} generations")
    parents = lineage.get("parents", {})
    table(known, needed)({key: value for key, value in lineage.items() if key != "parents"}, place)
    _check_streams(lineage, place)
    mapping(16)(parents, f"{place}.parents")
    checked = {}
    of_parents = {**{key: check for key, check in known.items() if key != "trained_on"}, **_FILE}
    for role, parent in parents.items():
        NAME(role, f"{place}.parents: the key")
        checked[role] = _checked_lineage(parent, f"{place}.parents.{role}", of_parents, (), generation + 1)
    return {"versions": {}, **lineage, "parents": checked}


def _check_streams(lineage: Mapping[str, Any], place: str) -> None:
    """Raise unless every stream that has a backbone is among the streams of the inputs."""
    backbones = lineage.get("backbone", {})
    if "inputs" in lineage and "name" not in backbones and set(backbones) - {*stream_names(lineage["inputs"])}:
        raise UnfitError(f"{place}.backbone has other streams than {place}.inputs")


def check_hyper_parameters(hparams: Any, path: Path, trust: Sequence[str] = ()) -> None:
    """Raise unless a checkpoint's hyper-parameters are arguments of this project's LightningModules.

    Args:
        hparams: as the file has them.
        path: the file, for the message.
        trust: see `check_targets`.

    Raises:
        ActionRecError: there is an unknown key, a value out of range, or a `_target_` that no file may name.
    """
    optimizer = target_with(allowed.optimizers, trust)
    scheduler = target_with(allowed.schedulers, trust)
    # The checkpoint itself holds the weights; another file of weights must not be read for it.
    backbone = table({**BACKBONE, "weights": one_of(None)}, ("name",))
    streams = stream_names(hparams.get("inputs") if isinstance(hparams, Mapping) else None)
    # Names are not checked yet, so that no message may hold them.
    frozen = worded(one_of(*streams), "a stream of the network")
    known: dict[str, Check] = {
        **{name: table({"backbone": backbone}, ("backbone",)) for name in streams if type(name) is str},
        **dict.fromkeys(("backbone", "frame_backbone", "flow_backbone"), backbone),  # version 1
        "actions": ACTIONS,
        "inputs": inputs(trust),
        "optimizer": optimizer,
        "scheduler": either(one_of(None, {}), scheduler),
        "label_smoothing": number(0, 1),
        "dropout": number(0, 1),
        "decay_norms": one_of(True, False),
        "head_lr_factor": number(0, 1e6),
        "backbone_lr_factor": number(0, 1e6),
        "batch_norm": one_of("train", "partial", "frozen"),
        "fixed_layers": number(0, 1),
        "head_epochs": integer(0, 100_000),
        "mixup": number(0, 1000),
        "class_weights": optional(list_of(number(0, 1e9), shortest=2, longest=10_000)),
        "fusion": either(text(50), target_with(set, trust)),
        "frozen": list_of(frozen, longest=max(1, len(streams))),
        "members": integer(1, 5),
        "stream_loss": number(0, 1000),
        "stream_dropout": number(0, 1),
    }
    try:
        table(known)(hparams, "hyper_parameters")
    except UnfitError as error:
        raise ActionRecError(f"{path}: {error}{_hint(error)}") from None
