"""Checkpoints as links of the chain: what they say of their origin, and how a later stage starts from them."""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor, nn

import actionrec
from actionrec.modules.earlier import CONSTANTS, PREFIX, add_normalisation
from actionrec.networks.fusion import Stream, TwoStream
from actionrec.settings import untrusted
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256

if TYPE_CHECKING:
    from actionrec.modules.base import ActionModule

_HEAD = ("head.weight", "head.bias")
_FOLDER = 0x10  # of a zip entry's attributes


@dataclass(frozen=True)
class Lineage:
    """Where a network comes from; every checkpoint holds its own as a plain dict under `lineage`.

    Args:
        model: class name of the LightningModule.
        stage: the experiment's stage.
        data: name of the data, `paths.name`.
        split: HMDB51 split; None for stills.
        seed: of the run.
        actions: class list, in the order of the labels.
        backbone: settings of the backbone(s), with the pretrained weights that were asked for.
        inputs: what the data module's `inputs` says.
        trained_on: names of the records that the weights were fitted to, in this stage and the parents'.
        parents: by role, each parent's path, sha256 and own lineage but for `trained_on`.
        versions: of the packages that decide.
        normalisation: by role (`frame` and `flow`, or `input`), mean and std of the input, in units of uint8.
    """

    model: str
    stage: str
    data: str
    split: int | None
    seed: int
    actions: list[str]
    backbone: dict[str, Any]
    inputs: dict[str, Any]
    trained_on: list[str]
    parents: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    normalisation: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As a dict of plain types."""
        return asdict(self)


@dataclass(frozen=True)
class Parent:
    """A checkpoint that a stage starts from."""

    path: Path
    checkpoint: dict[str, Any]

    @property
    def lineage(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return self.checkpoint["lineage"]

    def architecture(self) -> dict[str, Any]:
        """Settings of a backbone that takes this parent's weights: no others, and the same size of picture if fixed."""
        theirs = self.checkpoint.get("hyper_parameters", {}).get("backbone") or {}
        return {"weights": None, **({"image_size": theirs["image_size"]} if "image_size" in theirs else {})}

    def record(self) -> dict[str, Any]:
        """What a child keeps of it."""
        own = {key: value for key, value in self.lineage.items() if key != "trained_on"}
        return {"path": str(self.path), "sha256": sha256(self.path), **own}


def versions() -> dict[str, str]:
    """Versions of the packages that decide what a network computes."""
    return {"actionrec": actionrec.__version__, "torch": str(torch.__version__), "lightning": lightning.__version__}


def read(path: Path, key: str = "init_from", trust: Sequence[str] = ()) -> dict[str, Any]:
    """A checkpoint of this project as plain types and tensors, which are what they should be, see `untrusted`.

    It is read with `weights_only=True`, from a zip that holds no more than it seems to.

    Args:
        path: the file.
        key: the setting that names it, for the message.
        trust: modules of the user that its optimiser and scheduler may be of.

    Raises:
        ActionRecError: the file is missing, or not such a checkpoint.
    """
    if not path.exists():
        raise ActionRecError(f"{key}={path}: no such checkpoint; train that stage first, or name another")
    try:
        _check_archive(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ActionRecError(f"{key}={path}: not a checkpoint ({untrusted.reason(error, 80)})") from None
    checkpoint = untrusted.read_tensors(path, key, "a checkpoint")
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters", "lineage"} <= set(checkpoint):
        raise ActionRecError(f"{key}={path}: not a checkpoint of actionrec; train the stage with actionrec train")
    _check_weights(checkpoint["state_dict"], path)
    if type(checkpoint.get("epoch", 0)) is not int:
        raise ActionRecError(f"{path}: its epoch is no number; train the stage again")
    untrusted.check_hyper_parameters(checkpoint["hyper_parameters"], path, trust)
    return {**checkpoint, "lineage": untrusted.check_lineage(checkpoint["lineage"], path)}


def load_module(path: Path, checkpoint: Mapping[str, Any]) -> "ActionModule":
    """The module of a checkpoint that `read` gave, with its weights, on the CPU.

    Lightning's own loading would read the file a second time, and mind more of it than the arguments and the weights.

    Raises:
        ActionRecError: the arguments make no such network, or the weights are another's.
    """
    import actionrec.modules

    lineage, arguments = checkpoint["lineage"], checkpoint["hyper_parameters"]
    try:
        module = getattr(actionrec.modules, lineage["model"])(**arguments)
    except (ActionRecError, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = untrusted.reason(error)
        raise ActionRecError(f"{path}: its settings make no network ({reason}); train the stage again") from None
    try:
        whole = {**checkpoint, "state_dict": dict(checkpoint["state_dict"])}
        module.on_load_checkpoint(whole)  # which may change it
        module.load_state_dict(whole["state_dict"])
    except RuntimeError as error:  # a line for each layer
        reason = untrusted.reason(error)
        raise ActionRecError(f"{path}: its weights are not its network's ({reason}); train it again") from None
    return module


def _check_archive(path: Path) -> None:
    """Raise ValueError unless a file is an undamaged zip as torch writes it: not compressed, no larger than the file.

    torch's own reader does not look whether the bytes are those that were written.
    """
    if not path.is_file():
        raise ValueError("no file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it is compressed, which torch's are not")
            if any(entry.is_dir() or entry.external_attr & _FOLDER for entry in entries):
                raise ValueError("it has folders, which torch would read as zeros")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("it claims to hold more than it does")
            if damaged := archive.testzip():
                raise ValueError(f"the bytes of {damaged} have changed")
    except (NotImplementedError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error) as error:
        raise ValueError(f"it is damaged: {error}") from None


def _check_weights(state: Any, path: Path) -> None:
    """Raise unless the weights are tensors by name that the file has as many bytes for."""
    if not isinstance(state, dict) or not all(type(each) is str for each in state):
        raise ActionRecError(f"{path}: its state_dict is not tensors by name; train the stage again")
    tensors = list(state.values())
    if not all(type(each) is Tensor and each.is_cpu and each.layout == torch.strided for each in tensors):
        raise ActionRecError(f"{path}: its weights are not plain tensors; train the stage again")
    storages = [(each.untyped_storage(), each.numel() * each.element_size()) for each in tensors]
    own = {storage.data_ptr(): storage.nbytes() for storage, _ in storages}
    if any(size > storage.nbytes() for storage, size in storages) or sum(own.values()) > path.stat().st_size:
        raise ActionRecError(f"{path}: its weights claim to be larger than the file; train the stage again")


def open_parents(init_from: str | Mapping[str, str] | None, model: str, trust: Sequence[str] = ()) -> dict[str, Parent]:
    """The parents that `init_from` names, by role: `frame` and `flow` for two streams, else `parent`; see `read`."""
    if not init_from:
        return {}
    if model == "TwoStreamModule":
        if isinstance(init_from, str) or set(init_from) != {"frame", "flow"}:
            raise ActionRecError("init_from of the two-stream stage needs init_from.frame and init_from.flow")
        named = {role: (path, f"init_from.{role}") for role, path in init_from.items() if path}
    elif isinstance(init_from, str):
        named = {"parent": (init_from, "init_from")}
    else:
        raise ActionRecError("init_from of a single stream is one path, such as init_from=outputs/…/best.ckpt")
    parents = {role: Parent(Path(path), read(Path(path), key, trust)) for role, (path, key) in named.items()}
    for parent in parents.values():
        add_normalisation(parent.checkpoint)
    return parents


def check_parent(parent: Parent, split: int | None, held_out: Iterable[str]) -> None:
    """Raise if a parent has seen what this stage is measured on.

    Args:
        parent: the checkpoint to start from.
        split: HMDB51 split of this stage; None for stills.
        held_out: names of the records of this stage's validation and test parts.
    """
    theirs = parent.lineage["split"]
    if theirs is not None and split is not None and theirs != split:
        raise ActionRecError(
            f"{parent.path} was trained on split {theirs}, this stage is split {split}: its training clips are among "
            f"your test clips; train the parent on split {split}"
        )
    if seen := set(parent.lineage["trained_on"]) & set(held_out):
        raise ActionRecError(
            f"{parent.path} was trained on {len(seen)} of the clips that this stage is measured on "
            f"(first: {min(seen)}); train the parent on the same split of the same data"
        )


def start_from(network: nn.Module, actions: Sequence[str], parents: Mapping[str, Parent]) -> list[str]:
    """Copy the parents' weights into a network, in place; returns what was done, a line for each parent.

    Everything but the head must match; rows of the head are carried over by action name. The normalisation comes with
    the weights that were trained with it.
    """
    if isinstance(network, TwoStream):
        lines = [_start_stream(network.get_submodule(role), actions, parent) for role, parent in parents.items()]
        network.start_as_average()
        return lines
    return [_start_stream(network, actions, parent) for parent in parents.values()]


def carry_head(
    head: nn.Linear, actions: Sequence[str], weight: Tensor, bias: Tensor, parent_actions: Sequence[str]
) -> list[str]:
    """Copy the rows of the actions that both know; rows of the others keep their fresh values.

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


def _start_stream(stream: nn.Module, actions: Sequence[str], parent: Parent) -> str:
    assert isinstance(stream, Stream)
    state = {key.removeprefix(PREFIX): value for key, value in parent.checkpoint["state_dict"].items()}
    _check_layers(stream, state, parent)
    _check_normalisation(stream, state, parent)
    weight, bias = (state.pop(key) for key in _HEAD)
    stream.load_state_dict(state, strict=False)  # strict but for the head: _check_layers has compared the keys
    known = parent.lineage["actions"]
    carried = carry_head(stream.head, actions, weight, bias, known)
    return (
        f"{parent.path}: {len(state)} tensors of {parent.lineage['stage']}; head {len(known)} → {len(actions)}: "
        f"{len(carried)} carried over by name, {len(actions) - len(carried)} fresh"
    )


def _check_layers(stream: Stream, state: Mapping[str, Tensor], parent: Parent) -> None:
    """Raise unless the parent has this stream's layers; the head may have other rows."""
    own = stream.state_dict()
    if parent.lineage["model"] == "TwoStreamModule":
        raise ActionRecError(f"{parent.path} is a two-stream network; start a stream from a frame or a flow checkpoint")
    if missing := set(own) ^ set(state):
        theirs = parent.lineage["backbone"].get("name")
        raise ActionRecError(
            f"{parent.path} has another backbone ({theirs}): {len(missing)} layers are in one network only "
            f"(first: {min(missing)}); set backbone to match, or train the parent with this one"
        )
    for key, value in state.items():
        if key in (*_HEAD, *CONSTANTS) or value.shape == own[key].shape:
            continue
        if value.dim() == 4 and value.shape[0] == own[key].shape[0] and value.shape[2:] == own[key].shape[2:]:
            raise ActionRecError(
                f"{parent.path} takes {value.shape[1]} channels, this network {own[key].shape[1]} (at {key}); "
                "start frames from frames, and flow from flow of the same data.fields and data.representation"
            )
        raise ActionRecError(
            f"{parent.path} has another backbone ({parent.lineage['backbone'].get('name')}): {key} is "
            f"{tuple(value.shape)}, here {tuple(own[key].shape)}; set backbone to match"
        )


def _check_normalisation(stream: Stream, state: Mapping[str, Tensor], parent: Parent) -> None:
    """Raise unless the parent's constants are of such pictures, and are those that the user chose, if any."""
    own = stream.state_dict()
    for key in CONSTANTS:
        if state[key].shape != own[key].shape:
            raise ActionRecError(
                f"{parent.path} normalises {state[key].shape[1]} channels, this network {own[key].shape[1]}; start "
                "frames from frames, and flow from flow of the same data.fields and data.representation"
            )
        if stream.backbone.chosen and not torch.allclose(state[key], own[key], rtol=1e-4):
            raise ActionRecError(
                f"{parent.path} was trained with a {key} of {_listed(state[key])}, backbone.mean and backbone.std make "
                f"it {_listed(own[key])} (in units of 0 to 255); leave both null, or train the parent with them"
            )


def _listed(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]
