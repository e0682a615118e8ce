"""Static quantisation of an exported network to int8, by onnxruntime."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

# Heads and fusions, whose operator is Gemm, have little arithmetic and stay in float32.
QUANTISED = ["Conv", "MatMul", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip"]


class _Reader(CalibrationDataReader):
    def __init__(self, batches: Iterator[Mapping[str, Tensor]], names: list[str]):
        self.batches = batches
        self.names = names

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {name: np.ascontiguousarray(batch[name].numpy()) for name in self.names}


def quantise(path: Path, batches: Iterator[Mapping[str, Tensor]], names: list[str], out: Path) -> None:
    """Write the int8 network of a float32 file: QDQ format, uint8 activations, int8 weights by output channel.

    x86 CPUs without VNNI saturate sums of two products in 16 bits. Weights of 7 bits, onnxruntime's `reduce_range`,
    would avoid that, and doubled the error of the logits of an EfficientNet-Lite0.

    Args:
        path: the float32 file.
        batches: of training samples, from which the ranges of the activations come.
        names: of the inputs.
        out: the int8 file, which is replaced.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            _Reader(batches, names),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # the operands of x86's VNNI; int8 by int8 takes 2.6 times as long
            weight_type=QuantType.QInt8,
        )
