"""Checkpoints: the lineage that a checkpoint records, and the safe reading of checkpoint files."""

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
from actionrec.settings import untrusted, values
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:
    from actionrec.modules.base import ActionModule

_FOLDER = 0x10  # bit of a zip entry's attributes that marks a folder


@dataclass(frozen=True)
class Lineage:
    """Origin of a network's weights; every checkpoint holds its lineage as a plain dict under the key `lineage`.

    Args:
        model: class name of the LightningModule.
        stage: the experiment's stage.
        data: name of the data, `paths.name`.
        split: HMDB51 split; None for stills.
        seed: of the run.
        actions: class list, in the order of the labels.
        backbone: by stream, settings of the backbone, with the pretrained weights that were asked for.
        inputs: the data module's `inputs`.
        trained_on: names of the records that the weights were fitted to, in this stage and in its parents.
        parents: by role, each parent's path, sha256 and lineage without `trained_on`. The role is the stream's name
            in a network of several streams, otherwise `parent`.
        versions: of the packages that decide the network's output.
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
        """The lineage as a dict of plain types."""
        return asdict(self)


def versions() -> dict[str, str]:
    """Versions of the packages that decide a network's output."""
    return {"actionrec": actionrec.__version__, "torch": str(torch.__version__), "lightning": lightning.__version__}


def read(path: Path, key: str = "init_from", trust: Sequence[str] = ()) -> dict[str, Any]:
    """Read a checkpoint of this project into plain types and tensors, and check all of its content, see `untrusted`.

    The file is read with `weights_only=True`, after a check that it is an undamaged zip file without compression. A
    checkpoint of an earlier version is converted to the form of this version, see `earlier.renew`.

    Args:
        path: the file.
        key: the setting that names the file, for the message.
        trust: the user's own modules from which the checkpoint may name an optimiser or a scheduler.

    Raises:
        ActionRecError: the file is missing, or is no checkpoint of this project.
    """
    if not path.exists():
        raise ActionRecError(f"{key}={path}: no such checkpoint; train that stage first, or name another")
    try:
        _check_archive(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ActionRecError(f"{key}={path}: not a checkpoint ({values.reason(error, 80)})") from None
    checkpoint = untrusted.read_tensors(path, key, "a checkpoint")
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters", "lineage"} <= set(checkpoint):
        raise ActionRecError(f"{key}={path}: not a checkpoint of actionrec; train the stage with actionrec train")
    _check_weights(checkpoint["state_dict"], path)
    if type(checkpoint.get("epoch", 0)) is not int:
        raise ActionRecError(f"{path}: the checkpoint's epoch is not a number; train the stage again")
    untrusted.check_hyper_parameters(checkpoint["hyper_parameters"], path, trust)
    checked = {**checkpoint, "lineage": untrusted.check_lineage(checkpoint["lineage"], path, trust)}
    renew(checked)
    return checked


def load_module(path: Path, checkpoint: Mapping[str, Any]) -> "ActionModule":
    """Build the module of a checkpoint that `read` has returned, with the checkpoint's weights, on the CPU.

    Lightning's `load_from_checkpoint` would read the file a second time, and would use more of the file than the
    hyper-parameters and the weights.

    Raises:
        ActionRecError: the hyper-parameters build no network, or the weights are of another network.
    """
    import actionrec.modules

    lineage, arguments = checkpoint["lineage"], checkpoint["hyper_parameters"]
    try:
        module = getattr(actionrec.modules, lineage["model"])(**arguments)
    except (ActionRecError, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = values.reason(error)
        raise ActionRecError(f"{path}: its settings build no network ({reason}); train the stage again") from None
    try:
        module.on_load_checkpoint(dict(checkpoint))
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:  # torch's message has a line for each layer
        reason = values.reason(error)
        raise ActionRecError(f"{path}: its weights do not fit its network ({reason}); train the stage again") from None
    return module


def _check_archive(path: Path) -> None:
    """Raise ValueError unless a file is an undamaged zip in torch's form: no compression, no folders, no zip bomb.

    torch's own reader does not compare the checksums (CRC-32) of the zip entries.
    """
    if not path.is_file():
        raise ValueError("no file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it is compressed, and torch writes no compressed files")
            if any(entry.is_dir() or entry.external_attr & _FOLDER for entry in entries):
                raise ValueError("it has folders, and torch would read zeros from them")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("its entries claim to be larger than the file")
            if damaged := archive.testzip():
                raise ValueError(f"the bytes of {damaged} have changed")
    except (NotImplementedError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error) as error:
        raise ValueError(f"it is damaged: {error}") from None


def _check_weights(state: Any, path: Path) -> None:
    """Raise unless the weights are plain tensors by name, and are together no larger than the file."""
    if not isinstance(state, dict) or not all(type(each) is str for each in state):
        raise ActionRecError(f"{path}: its state_dict is not tensors by name; train the stage again")
    tensors = list(state.values())
    if not all(type(each) is Tensor and each.is_cpu and each.layout == torch.strided for each in tensors):
        raise ActionRecError(f"{path}: its weights are not plain tensors; train the stage again")
    storages = [(each.untyped_storage(), each.numel() * each.element_size()) for each in tensors]
    own = {storage.data_ptr(): storage.nbytes() for storage, _ in storages}
    if any(size > storage.nbytes() for storage, size in storages) or sum(own.values()) > path.stat().st_size:
        raise ActionRecError(f"{path}: its weights claim to be larger than the file; train the stage again")
