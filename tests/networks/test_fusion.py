import pytest
import torch
from torch import nn

from actionrec.networks.backbone import Backbone
from actionrec.networks.fusion import FUSIONS, Stream, TwoStream
from actionrec.system.errors import ActionRecError


def stream(channels: int, features: int, classes: int = 5) -> Stream:
    body = nn.Sequential(
        nn.Conv2d(channels, features, 3), nn.BatchNorm2d(features), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return Stream(Backbone(body, features), classes, mean=(128.0,), std=(60.0,))


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.randint(
        0, 256, (4, 8, 8, 8), dtype=torch.uint8
    )


def create(fusion: str, frozen=()) -> TwoStream:
    torch.manual_seed(0)
    return TwoStream(stream(3, 6), stream(8, 7), 5, fusion, frozen).eval()


def test_a_stream_normalises_once():
    network = stream(3, 6).eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(torch.full((1, 3, 8, 8), 188, dtype=torch.uint8))
    assert torch.allclose(seen[0], torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize("fusion", ["concat", "concat_features", "conv"])
def test_learned_fusion_starts_as_the_average_of_the_logits(fusion, inputs):
    network = create(fusion)
    expected = (network.frame(inputs[0]) + network.flow(inputs[1])) / 2
    assert torch.allclose(network(*inputs), expected, atol=1e-5)


def test_conv_sees_where_the_streams_agree(inputs):
    """Unlike the other fusions, which see means over the places."""
    network = create("conv")
    torch.nn.init.normal_(network.fusion.mix.weight)
    moved = inputs[1].roll(3, dims=3)
    assert not torch.allclose(network(inputs[0], moved), network(*inputs), atol=1e-3)
    maps = [stream.maps(x) for stream, x in zip((network.frame, network.flow), inputs, strict=True)]
    assert [each.shape for each in maps] == [(4, 6, 6, 6), (4, 7, 6, 6)]


def test_conv_refuses_features_that_are_no_mean_of_maps():
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=112, padding=1), nn.Flatten(), nn.Linear(16, 6))
    with pytest.raises(ActionRecError, match=r"model\.fusion=conv needs backbones whose features are the mean"):
        TwoStream(Stream(Backbone(body, 6), 5, (128.0,), (60.0,)), stream(8, 7), 5, "conv")


def test_average_and_max_are_of_the_probabilities(inputs):
    network = create("average")
    a, b = network.frame(inputs[0]).softmax(1), network.flow(inputs[1]).softmax(1)
    assert torch.allclose(network(*inputs).exp(), (a + b) / 2, atol=1e-6)
    network.kind = "max"
    assert torch.allclose(network(*inputs).exp(), torch.maximum(a, b), atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_everything_that_counts_learns_unless_frozen(fusion, inputs):
    for frozen in ((), ("frame",), ("frame", "flow")):
        network = create(fusion, frozen).train()
        output = network(*inputs).logsumexp(1).sum() + network(*inputs).square().sum()
        if output.requires_grad:
            output.backward()
        for name, parameter in network.named_parameters():
            if any(name.startswith(f"{role}.") for role in frozen):
                assert parameter.grad is None
            elif parameter.requires_grad:
                assert parameter.grad is not None, name
        assert network.frame.training is ("frame" not in frozen)
        assert network.flow.training is ("flow" not in frozen)


def test_a_frozen_stream_keeps_its_statistics(inputs):
    network = create("concat", ["frame"]).train()
    before = [network.get_submodule(role).backbone.network[1].running_mean.clone() for role in ("frame", "flow")]
    network(*inputs)
    after = [network.get_submodule(role).backbone.network[1].running_mean for role in ("frame", "flow")]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_unknown_settings_are_refused():
    with pytest.raises(ActionRecError, match=r"model\.fusion=sum"):
        create("sum")
    with pytest.raises(ActionRecError, match="rgb is not a stream"):
        create("concat", ["rgb"])
