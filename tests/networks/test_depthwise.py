"""Gradients of depthwise convolutions."""

import copy
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from actionrec.experiment.compilation import accelerated
from actionrec.networks import backbone
from actionrec.networks.depthwise import DepthwiseConv2d, input_gradient, use_fast_gradients, weight_gradient

LAYERS = [
    (3, 2, 0),
    (3, 2, 1),
    (3, 2, 2),
    (5, 1, 0),
    (5, 1, 1),
    (5, 1, 2),
    (5, 2, 0),
    (5, 2, 1),
    (5, 2, 2),
]  # kernel, stride, padding


def reference(gradient, x, weight, stride, padding):
    x, weight = (part.detach().double().requires_grad_() for part in (x, weight))
    out = nn.functional.conv2d(x, weight, None, stride, padding, 1, len(weight))
    out.backward(gradient.double())
    return x.grad, weight.grad


@pytest.mark.parametrize("side", [(7, 7), (8, 8), (9, 12), (6, 5)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), LAYERS)
def test_gradients_are_those_of_the_convolution(kernel, stride, padding, side):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, *side, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, 1, kernel, kernel, generator=generator)
    out = nn.functional.conv2d(x, weight, None, stride, padding, 1, 4)
    gradient = torch.randn(out.shape, generator=generator).contiguous(memory_format=torch.channels_last)
    of_x, of_weight = reference(gradient, x, weight, stride, padding)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(input_gradient(gradient, weight, x.shape, stride, padding), of_x.float())
    close(weight_gradient(gradient, x, kernel, stride, padding), of_weight.float())


@pytest.mark.parametrize("stride", [1, 2])
def test_rounding_is_that_of_bfloat16(stride):
    """The error against float64 is not above that of torch's own gradients."""
    torch.manual_seed(0)
    own = nn.Conv2d(8, 8, 5, stride, 2, groups=8)
    fast = copy.deepcopy(own)
    assert use_fast_gradients(fast) == 1
    x = torch.randn(4, 8, 14, 14).contiguous(memory_format=torch.channels_last)
    errors = []
    for layer in (own, fast):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(given)
        assert out.dtype == torch.bfloat16
        gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
        out.backward(gradient)
        rounded = (x.bfloat16(), layer.weight.bfloat16())
        expected = (*reference(gradient, *rounded, stride, 2), gradient.double().sum((0, 2, 3)))
        got = (given.grad, layer.weight.grad, layer.bias.grad)
        errors.append([float((a.double() - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True)])
    assert all(fast <= 1.1 * own + 1e-3 for own, fast in zip(*errors, strict=True)), errors
    assert max(errors[1]) < 4e-3  # half of bf16's spacing of 2⁻⁷


def test_a_backbone_keeps_its_weights_its_names_and_its_outputs():
    network = backbone.create("efficientnet_lite0", None)
    state, x = copy.deepcopy(network.state_dict()), torch.randn(2, 3, 75, 64)
    expected = network.eval()(x)
    assert use_fast_gradients(network) == 11  # of 16 depthwise layers; torch is fast at 3×3 taps with stride 1
    assert network.state_dict().keys() == state.keys()
    torch.testing.assert_close(network(x), expected, rtol=0, atol=0)
    assert use_fast_gradients(copy.deepcopy(network)) == 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, 2, 1),
        nn.Conv2d(4, 8, 3, 2, 1, groups=4),
        nn.Conv2d(4, 4, 7, 2, 3, groups=4),
        nn.Conv2d(4, 4, (3, 5), 2, 1, groups=4),
        nn.Conv2d(4, 4, 3, 2, 2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, 2, 1, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 5, 1, "same", groups=4),
        nn.Conv2d(4, 4, 3, 1, 1, groups=4),
    ],
    ids=str,
)
def test_other_layers_stay_torchs(layer):
    assert use_fast_gradients(layer) == 0
    assert type(layer) is nn.Conv2d


def test_float32_and_evaluation_are_torchs():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 5, 2, 2, groups=4)
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), (x, layer.weight))
    use_fast_gradients(layer)
    found = torch.autograd.grad(layer(x).square().sum(), (x, layer.weight))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(("fast", "layers"), [(True, 1), (False, 0)])
def test_the_setting_decides(fast, layers):
    network = nn.Sequential(nn.Conv2d(4, 4, 5, 2, 2, groups=4))
    with accelerated(network, OmegaConf.create({"fast_depthwise": fast, "compile": False})):
        assert sum(isinstance(layer, DepthwiseConv2d) for layer in network) == layers
