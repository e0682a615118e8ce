"""Gradients of depthwise convolutions in bfloat16 on a CPU, without the kernels that are slow there.

oneDNN, which computes torch's convolutions on a CPU, has fast bf16 kernels for depthwise convolutions with 3×3 taps,
but not for the gradient of the input at stride 2, nor for the gradient of 5×5 weights: in EfficientNet-Lite0 these two
take more than half of a training step. Both gradients are sums of 3×3 convolutions: at stride 2 the even and the odd
rows and columns of the input receive disjoint taps (sub-pixel convolution, Shi et al., CVPR 2016), and 5×5 taps are
four overlapping or interleaved blocks of 3×3 taps. The sums have the rounding of torch's own bf16 gradients.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_PHASES = [(row, column) for row in (0, 1) for column in (0, 1)]


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with fast gradients in bf16 on a CPU; anywhere else torch's own.

    The parameters and their names are those of `nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _applies(x):
            return super().forward(x)
        weight, bias = (part if part is None else part.to(torch.bfloat16) for part in (self.weight, self.bias))
        out = _Depthwise.apply(x.to(torch.bfloat16), weight, self.stride[0], self.padding[0])
        return out if bias is None else out + bias[:, None, None]


class DepthwiseConv2dSame(DepthwiseConv2d):
    """The same for timm's `Conv2dSame`, which pads its input as TensorFlow does: ⌈H / stride⌉ rows of output."""

    def forward(self, x: Tensor) -> Tensor:
        sides = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        down, right = (max(0, (-(-side // step) - 1) * step + kernel - side) for side, kernel, step in sides)
        return super().forward(F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2)))


def use_fast_gradients(network: nn.Module) -> int:
    """Replace the class of a network's depthwise convolutions that torch is slow at, in place.

    Returns:
        the number of replaced layers.
    """
    classes: dict[type, type[DepthwiseConv2d]] = {nn.Conv2d: DepthwiseConv2d}
    if "timm.layers" in sys.modules:  # timm is optional; a network of timm has imported it
        classes[sys.modules["timm.layers"].Conv2dSame] = DepthwiseConv2dSame
    layers = [layer for layer in network.modules() if type(layer) in classes and _is_slow(layer)]
    for layer in layers:
        layer.__class__ = classes[type(layer)]
    return len(layers)


def _is_slow(layer: nn.Module) -> bool:
    assert isinstance(layer, nn.Conv2d)
    if not 1 < layer.groups == layer.in_channels == layer.out_channels or layer.dilation != (1, 1):
        return False
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or len({*layer.padding}) > 1:
        return False
    return (layer.kernel_size, layer.stride) in {((3, 3), (2, 2)), ((5, 5), (2, 2)), ((5, 5), (1, 1))}


def _applies(x: Tensor) -> bool:
    if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution of x (B, C, H, W) with square weights (C, 1, K, K), both bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = input_gradient(gradient, weight, x.shape, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(gradient, x, weight.shape[-1], ctx.stride, ctx.padding)
        return of_x, of_weight, None, None


def input_gradient(gradient: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    """Gradient of the input of a depthwise convolution.

    Args:
        gradient: of the output, (B, C, h, w) in `channels_last`.
        weight: (C, 1, K, K) with K 3 or 5.
        shape: of the input, (B, C, H, W).
        stride: 1 or 2.
        padding: zeros at each side of the input.
    """
    batch, channels, height, width = shape
    if stride == 1:
        return _native(gradient, gradient.new_empty(shape), weight, stride, padding, [True, False, False])[0]
    # Row 2m + a of the input is the sum over shifts t of gradient[m + t] · weight[a + padding − 2t]. The shifts of
    # both phases a are among three, from the first one on, as those of a convolution of 3×3 taps.
    kernel = weight.shape[-1]
    first = -((kernel - 1 - padding) // 2)
    below, right = (
        (side + 1) // 2 + 2 + first - small for side, small in zip(shape[2:], gradient.shape[2:], strict=True)
    )
    gradient = F.pad(gradient, (-first, right, -first, below)).contiguous(memory_format=torch.channels_last)
    result = gradient.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
    for row, column in _PHASES:
        taps = weight.new_zeros(channels, 1, 3, 3)
        for down, from_row in _taps(row + padding, first, kernel):
            for right, from_column in _taps(column + padding, first, kernel):
                taps[:, :, down, right] = weight[:, :, from_row, from_column]
        part = result[:, :, row::2, column::2]
        part.copy_(F.conv2d(gradient, taps, groups=channels)[:, :, : part.shape[2], : part.shape[3]])
    return result


def _taps(offset: int, first: int, kernel: int) -> list[tuple[int, int]]:
    """Pairs of a place among three taps, for three shifts from `first` on, and the place of its weight."""
    places = [(tap, offset - 2 * (first + tap)) for tap in range(3)]
    return [(tap, place) for tap, place in places if 0 <= place < kernel]


def weight_gradient(gradient: Tensor, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Gradient (C, 1, K, K) of the weights of a depthwise convolution.

    Args:
        gradient: of the output, (B, C, h, w) in `channels_last`.
        x: the input, (B, C, H, W).
        kernel: side K of the weights, 3 or 5.
        stride: 1 or 2.
        padding: zeros at each side of the input.
    """
    channels, (height, width) = gradient.shape[1], gradient.shape[2:]
    if kernel == 3:
        return _native(gradient, x, x.new_empty(channels, 1, 3, 3), stride, padding, [False, True, False])[1]
    result = x.new_empty(channels, 1, kernel, kernel)
    padded = F.pad(x, (padding, padding + 1, padding, padding + 1))
    block = x.new_empty(channels, 1, 3, 3)
    for row, column in _PHASES:
        # Stride 1: rows 0 to 2 and 2 to 4 of the weights. Stride 2: rows 0, 2, 4 and rows 1, 3.
        rows, columns = (slice(2 * each, None) if stride == 1 else slice(each, None, 2) for each in (row, column))
        seen = padded[:, :, rows, columns][:, :, : height + 2, : width + 2]
        seen = seen.contiguous(memory_format=torch.channels_last)
        part = result[:, :, rows, columns][:, :, :3, :3]
        found = _native(gradient, seen, block, 1, 0, [False, True, False])[1]
        part.copy_(found[:, :, : part.shape[2], : part.shape[3]])
    return result


def _native(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's gradients of input, weight and bias; those that are not `wanted` are undefined."""
    strides, paddings, groups = [stride] * 2, [padding] * 2, gradient.shape[1]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, strides, paddings, [1, 1], False, [0, 0], groups, wanted
    )
