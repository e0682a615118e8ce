"""Networks that `actionrec export` has written as ONNX: the description inside such a file, and its use as a module."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from actionrec.modules.measured import Measured
from actionrec.settings.untrusted import check_lineage
from actionrec.settings.values import (
    SHA256,
    UnfitError,
    integer,
    list_of,
    mapping,
    mapping_of,
    one_of,
    optional,
    reason,
    table,
    text,
)
from actionrec.streams import create_all
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

if TYPE_CHECKING:  # of the extra `export`
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
KEY = "actionrec"  # of the model's metadata; the value is JSON
LOGITS = "logits"  # name of the output
PRECISIONS = ("float32", "int8")
EXTRA = "exported networks need packages: pip install 'actionrec[export]'"
_MEND = "export the network again with actionrec export"


class Description(NamedTuple):
    """The description inside an exported file, as JSON under `KEY` in the metadata of the ONNX model.

    Args:
        lineage: of the checkpoint, with its labels (`actions`) and its `inputs`.
        checkpoint: sha256 of the checkpoint.
        streams: names of the inputs, in their order: those of the lineage that the logits depend on.
        views: `segments` and `crops` of the run's measurement.
        precision: one of `PRECISIONS`.
        calibration: of the checkpoint, see `prediction.calibration.Calibration`; None without one.
        versions: of the packages that wrote the file.
    """

    lineage: dict[str, Any]
    checkpoint: str
    streams: list[str]
    views: dict[str, int]
    precision: str
    calibration: dict[str, Any] | None
    versions: dict[str, str]

    @property
    def actions(self) -> tuple[str, ...]:
        """The class list, in the order of the logits."""
        return tuple(self.lineage["actions"])

    @property
    def inputs(self) -> dict[str, Any]:
        """The lineage's `inputs`, with the file's own streams alone."""
        own = {name: self.lineage["inputs"]["streams"][name] for name in self.streams}
        return {**self.lineage["inputs"], "streams": own}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a sample, by input."""
        return {name: each.shape(self.inputs["size"]) for name, each in create_all(self.inputs).items()}

    def json(self) -> str:
        """The text that `described` reads."""
        return json.dumps(self._asdict(), allow_nan=False)


def is_exported(path: Path) -> bool:
    """Whether a file is an exported network, by its suffix."""
    return path.suffix.lower() == SUFFIX


class ExportedModule(Measured):
    """An exported network, on the CPU: inputs from the batch under the streams' names → logits (B, K) float32.

    Args:
        session: of onnxruntime.
        description: of the file.
    """

    def __init__(self, session: "InferenceSession", description: Description):
        super().__init__()
        self.session = session
        self.description = description
        self.actions = description.actions

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        inputs = {name: np.ascontiguousarray(batch[name].cpu().numpy()) for name in self.description.streams}
        try:
            return torch.from_numpy(self.session.run([LOGITS], inputs)[0])
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise ActionRecError(f"onnxruntime cannot run the network ({reason(error)}); {_MEND}") from None


def load(path: Path, key: str = "checkpoint", trust: Sequence[str] = ()) -> ExportedModule:
    """Load an exported file.

    Args:
        path: the file.
        key: the setting that names the file, for messages.
        trust: modules of the user that the lineage may name, see `untrusted.check_targets`.

    Raises:
        ActionRecError: the extra `export` is not installed, the file is missing or damaged, or it is not one of this
            project.
    """
    if not path.is_file():
        raise ActionRecError(f"{key}={path}: no such file; export the network with actionrec export")
    opened = session(path, key)
    description = described(opened.get_modelmeta().custom_metadata_map.get(KEY), path, trust)
    _check_signature(opened, description, path)
    return ExportedModule(opened, description)


def session(path: Path, key: str = "checkpoint") -> "InferenceSession":
    """Open an ONNX file on the CPU, with as many threads as there are usable cores.

    Raises:
        ActionRecError: the extra `export` is not installed, or the file is no ONNX model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ActionRecError(f"{key}={path}: {EXTRA}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(usable_cores(), torch.get_num_threads())
    options.log_severity_level = 3  # errors; warnings are about optimisations that do not apply
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions, of many types, derive from RuntimeError or Exception
        raise ActionRecError(f"{key}={path}: not an ONNX file ({reason(error)}); {_MEND}") from None


_TABLE = {
    "lineage": mapping(),
    "checkpoint": SHA256,
    "streams": list_of(text(100), shortest=1, longest=16, distinct=True),
    "views": table({"segments": integer(1, 1000), "crops": integer(1, 100)}, ("segments", "crops")),
    "precision": one_of(*PRECISIONS),
    "calibration": optional(mapping(20)),  # checked by `prediction.calibration`
    "versions": mapping_of(text(100), text(200)),
}


def described(content: str | None, path: Path, trust: Sequence[str] = ()) -> Description:
    """The description of a file, from the text under `KEY`.

    Raises:
        ActionRecError: there is none, or it is not one that this version writes.
    """
    if content is None:
        raise ActionRecError(f"{path}: not an exported network of actionrec; {_MEND}")
    try:
        found = json.loads(content, parse_constant=lambda _: None)
        table(_TABLE, tuple(_TABLE))(found, KEY)
        lineage = check_lineage(found["lineage"], path, trust)
        if unknown := [name for name in found["streams"] if name not in lineage["inputs"]["streams"]]:
            raise UnfitError(f"{KEY}.streams: {unknown[0]} is not a stream of the lineage")
    except (ValueError, RecursionError) as error:
        raise ActionRecError(f"{path}: {reason(error)}; {_MEND}") from None
    return Description(**{**found, "lineage": lineage})


def _check_signature(opened: "InferenceSession", description: Description, path: Path) -> None:
    """Raise unless the graph has the inputs and the output of the description."""
    inputs = [(each.name, each.type, tuple(each.shape[1:])) for each in opened.get_inputs()]
    outputs = [(each.name, each.type, tuple(each.shape[1:])) for each in opened.get_outputs()]
    said = [(name, "tensor(uint8)", shape) for name, shape in description.shapes.items()]
    if inputs != said or outputs != [(LOGITS, "tensor(float)", (len(description.actions),))]:
        raise ActionRecError(f"{path}: the inputs or the output are not those of its description; {_MEND}")
