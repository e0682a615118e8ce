"""Checkpoints: what they say of their origin, and how they are read."""

import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor

import actionrec
from actionrec.modules.earlier import renew
from actionrec.settings import untrusted
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:
    from actionrec.modules.base import ActionModule

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
        backbone: by stream, settings of the backbone, with the pretrained weights that were asked for.
        inputs: what the data module's `inputs` says.
        trained_on: names of the records that the weights were fitted to, in this stage and the parents'.
        parents: by role (a stream of several, else `parent`), each parent's path, sha256 and own lineage but for
            `trained_on`.
        versions: of the packages that decide.
        normalisation: by stream, mean and std of the input, in units of uint8.
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


def versions() -> dict[str, str]:
    """Versions of the packages that decide what a network computes."""
    return {"actionrec": actionrec.__version__, "torch": str(torch.__version__), "lightning": lightning.__version__}


def read(path: Path, key: str = "init_from", trust: Sequence[str] = ()) -> dict[str, Any]:
    """A checkpoint of this project as plain types and tensors, which are what they should be, see `untrusted`.

    It is read with `weights_only=True`, from a zip that holds no more than it seems to. One of an earlier version is
    given as this version would have written it, see `earlier.renew`.

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
    checked = {**checkpoint, "lineage": untrusted.check_lineage(checkpoint["lineage"], path, trust)}
    renew(checked)
    return checked


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
        module.on_load_checkpoint(dict(checkpoint))
        module.load_state_dict(checkpoint["state_dict"])
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
