"""Conversion of a network to an ONNX file by torch's exporters."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from actionrec.export.graph import Graph
from actionrec.modules.exported import EXTRA, KEY, LOGITS, Description
from actionrec.runs import provenance
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # the oldest that both exporters write without a conversion of versions
_BATCH = "batch"  # name of the dynamic dimension


def require_extra() -> None:
    """Raise unless the packages of the extra `export` are installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ActionRecError(f"format=onnx: {error.name} is not installed; {EXTRA}") from None


def convert(graph: Graph, inputs: Sequence[Tensor], exporter: str, path: Path) -> None:
    """Write a network as an ONNX file, with a dynamic batch dimension and without a description.

    Args:
        graph: the network.
        inputs: a batch of two or more samples; exporters take a batch of one for a constant.
        exporter: one of `EXPORTERS`.
        path: of the file, which is replaced.

    Raises:
        Exception: of any type; the exporter does not know a layer of the network.
    """
    import onnx

    with torch.no_grad(), _silence():
        EXPORTERS[exporter](graph, tuple(inputs), path)
    model = onnx.load(path)
    _anonymise(model)
    onnx.save(model, path)


def describe(path: Path, description: Description) -> None:
    """Write a description into the metadata of an ONNX file, in place of an earlier one."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: description.json()})
    onnx.save(model, path)


def versions() -> dict[str, str]:
    """Versions of the packages that write an exported file."""
    packages = ("python", "actionrec", "torch", "onnx", "onnxscript", "onnxruntime")
    return {name: found for name, found in provenance.versions(packages).items() if name in packages}


def _dynamo(graph: Graph, inputs: tuple[Tensor, ...], path: Path) -> None:
    batch = torch.export.Dim(_BATCH)
    options: dict[str, Any] = {"dynamo": True, "external_data": False, "verbose": False}
    shapes = (tuple({0: batch} for _ in inputs),)  # of `*inputs`, which is a single argument to torch.export
    torch.onnx.export(graph, inputs, path, dynamic_shapes=shapes, **_common(graph), **options)


def _torchscript(graph: Graph, inputs: tuple[Tensor, ...], path: Path) -> None:
    torch.onnx.register_custom_op_symbolic("aten::logaddexp", _logaddexp, OPSET)  # of averages; this exporter lacks it
    axes = {name: {0: _BATCH} for name in (*graph.names, LOGITS)}
    torch.onnx.export(graph, inputs, path, dynamic_axes=axes, dynamo=False, **_common(graph))


def _logaddexp(g: Any, a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)) = max(a, b) + log(1 + exp(-|a - b|)), in operators of ONNX."""
    smaller = g.op("Exp", g.op("Neg", g.op("Abs", g.op("Sub", a, b))))
    one = g.op("Constant", value_t=torch.tensor(1.0))
    return g.op("Add", g.op("Max", a, b), g.op("Log", g.op("Add", smaller, one)))


def _common(graph: Graph) -> dict[str, Any]:
    return {"input_names": graph.names, "output_names": [LOGITS], "opset_version": OPSET}


# In the order of trial. torch's exporter of TorchScript is deprecated, and the exporter by torch.export has written
# wrong convolutions (pytorch issue 169178); both are compared with PyTorch.
EXPORTERS: dict[str, Callable[[Graph, tuple[Tensor, ...], Path], None]] = {
    "dynamo": _dynamo,
    "torchscript": _torchscript,
}


def _anonymise(model: "ModelProto") -> None:
    """Remove the exporters' notes on the source code: names and paths of files, and stack traces."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        named = [graph, *graph.node, *graph.value_info]
        if graph is model.graph:
            named += [*graph.input, *graph.output, *graph.initializer]
        for each in named:
            each.ClearField("doc_string")
            each.ClearField("metadata_props")
        graphs += [
            attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")
        ]  # branches and loop bodies
    model.ClearField("doc_string")
    model.ClearField("metadata_props")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the output and the logs of the exporters; the comparison with PyTorch finds their errors."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
