import pytest
import torch
from torch import nn

from actionrec.evaluation.gate import Gate
from actionrec.networks.backbone import Backbone
from actionrec.networks.fusions import FUSION_LAYERS, Average, Max, Product
from actionrec.networks.stream import VOLUME, Bagged, Stream, members_of
from actionrec.networks.streams import MultiStream
from actionrec.networks.video import VideoBackbone
from actionrec.system.errors import ActionRecError

LEARNED = ["concat", "concat_features", "conv"]
CHANNELS = {"frame": 3, "flow": 8, "rgb_difference": 15}


def stream(channels: int, features: int, classes: int = 5) -> Stream:
    body = nn.Sequential(
        nn.Conv2d(channels, features, 3), nn.BatchNorm2d(features), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return Stream(Backbone(body, features), classes, mean=(128.0,), std=(60.0,))


def clip_stream(features: int = 6, stride: int = 1) -> Stream:
    """A video backbone whose feature maps are 6/`stride` pixels high and wide."""
    body = nn.Sequential(nn.Conv3d(3, features, 3, (1, stride, stride)), nn.ReLU(), nn.AdaptiveAvgPool3d(1))
    network = VideoBackbone(nn.Sequential(*body, nn.Flatten()), features, "1", (128.0,), (60.0,))
    return Stream(network, 5, (128.0, 100.0, 90.0), (60.0,), dimensions=VOLUME)


@pytest.fixture
def inputs():
    """The inputs of three streams."""
    torch.manual_seed(0)
    return [torch.randint(0, 256, (4, channels, 8, 8), dtype=torch.uint8) for channels in CHANNELS.values()]


def create(fusion: str, frozen=(), count: int = 2) -> MultiStream:
    torch.manual_seed(0)
    streams = {name: stream(CHANNELS[name], 6 + place) for place, name in enumerate(list(CHANNELS)[:count])}
    return MultiStream(streams, 5, fusion, frozen).eval()


def test_a_stream_normalises_once():
    network = stream(3, 6).eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(torch.full((1, 3, 8, 8), 188, dtype=torch.uint8))
    assert torch.allclose(seen[0], torch.ones(1, 3, 8, 8))


def test_a_stream_of_clips_normalises_their_channels():
    network = clip_stream().eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    clips = torch.tensor([188, 160, 30], dtype=torch.uint8).view(1, 3, 1, 1, 1).repeat(2, 1, 5, 8, 8)
    assert network(clips).shape == (2, 5)
    assert seen[0].mean((0, 2, 3, 4)).tolist() == pytest.approx([1, 1, -1])
    assert network.maps(clips).shape == (2, 6, 6, 6)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("fusion", LEARNED)
def test_learned_fusion_starts_as_the_average_of_the_logits(fusion, count, inputs):
    network = create(fusion, count=count)
    logits = [each(x) for each, x in zip(network.streams.values(), inputs[:count], strict=True)]
    assert torch.allclose(network(*inputs[:count]), torch.stack(logits).mean(0), atol=1e-5)


@pytest.mark.parametrize("fusion", FUSION_LAYERS)
def test_clips_are_fused_with_pictures(fusion, inputs):
    streams = {"frame": stream(3, 6), "clip": clip_stream()}
    network = MultiStream(streams, 5, fusion).eval()
    logits = network(inputs[0], torch.randint(0, 256, (4, 3, 5, 8, 8), dtype=torch.uint8))
    assert logits.shape == (4, 5)
    assert set(network.state_dict()) >= {"frame.head.weight", "clip.head.weight", "clip.mean"}


def test_conv_refuses_maps_of_two_sizes(inputs):
    network = MultiStream({"frame": stream(3, 6), "clip": clip_stream(stride=2)}, 5, "conv").eval()
    with pytest.raises(ActionRecError, match="maps of one size, these are 6×6 of frame, 3×3 of clip"):
        network(inputs[0], torch.zeros(4, 3, 5, 8, 8, dtype=torch.uint8))


def test_conv_sees_where_the_streams_agree(inputs):
    """The other fusions use spatial means only."""
    network = create("conv")
    torch.nn.init.normal_(network.fusion.mix.weight)
    moved = inputs[1].roll(3, dims=3)
    assert not torch.allclose(network(inputs[0], moved), network(*inputs[:2]), atol=1e-3)
    maps = [each.maps(x) for each, x in zip(network.streams.values(), inputs[:2], strict=True)]
    assert [each.shape for each in maps] == [(4, 6, 6, 6), (4, 7, 6, 6)]


def test_conv_refuses_features_that_are_no_mean_of_maps():
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=112, padding=1), nn.Flatten(), nn.Linear(16, 6))
    streams = {"frame": Stream(Backbone(body, 6), 5, (128.0,), (60.0,)), "flow": stream(8, 7)}
    with pytest.raises(ActionRecError, match=r"model\.fusion=conv needs backbones whose features are the mean"):
        MultiStream(streams, 5, "conv")


@pytest.mark.parametrize("count", [2, 3])
def test_average_product_and_max_are_of_the_probabilities(count, inputs):
    network, inputs = create("average", count=count), inputs[:count]
    chances = torch.stack([each(x).softmax(1) for each, x in zip(network.streams.values(), inputs, strict=True)])
    assert isinstance(network.fusion, Average)
    assert torch.allclose(network(*inputs).exp(), chances.mean(0), atol=1e-6)
    network.fusion = Product(network.streams, 5)
    assert torch.allclose(
        network(*inputs).softmax(1), chances.prod(0) / chances.prod(0).sum(1, keepdim=True), atol=1e-6
    )
    network.fusion = Max(network.streams, 5)
    assert torch.allclose(network(*inputs).exp(), chances.amax(0), atol=1e-6)


@pytest.mark.parametrize("fusion", FUSION_LAYERS)
def test_everything_that_counts_learns_unless_frozen(fusion, inputs):
    inputs = inputs[:2]
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
    before = [each.backbone.network[1].running_mean.clone() for each in network.streams.values()]
    network(*inputs[:2])
    after = [each.backbone.network[1].running_mean for each in network.streams.values()]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("fusion", FUSION_LAYERS)
def test_the_layers_that_decide_see_the_features(fusion, inputs):
    network, seen = create(fusion, count=3), []
    for layer in network.fusion.deciding_layers(network.streams):
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(*inputs)
    expected = torch.cat([each.embed(x) for each, x in zip(network.streams.values(), inputs, strict=True)], dim=1)
    assert torch.allclose(torch.cat(seen[: 1 if fusion == "conv" else 3], dim=1), expected, atol=1e-5)


def test_weights_have_the_names_that_checkpoints_have():
    for fusion, own in {
        "concat": {"weight", "bias"},
        "concat_features": {"weight", "bias"},
        "conv": {"mix.weight", "mix.bias", "head.weight", "head.bias"},
        "average": set(),
        "product": set(),
        "max": set(),
        "gated": {"weights", "temperatures", "mixes"},
    }.items():
        names = [name for name in create(fusion).state_dict() if name.startswith("fusion.")]
        assert {name.removeprefix("fusion.") for name in names} == own


@pytest.mark.parametrize("mixes", [True, False])
def test_a_gate_is_computed_as_it_was_chosen(mixes, inputs):
    network = create("gated", count=3)
    gate = Gate((0.25, 0.0, 0.75), (2.0, 1.0, 0.5), mixes)
    network.fusion.weights.copy_(torch.tensor(gate.weights))
    network.fusion.temperatures.copy_(torch.tensor(gate.temperatures))
    network.fusion.mixes.fill_(mixes)
    logs = torch.stack([each(x).log_softmax(1) for each, x in zip(network.streams.values(), inputs, strict=True)])
    expected = torch.from_numpy(gate.combine(logs.detach().numpy())).float()
    torch.testing.assert_close(network(*inputs).log_softmax(1), expected, rtol=1e-4, atol=1e-5)
    assert network.fusion.used(network.names) == ["frame", "rgb_difference"]


def test_a_stream_without_weight_is_not_computed(inputs):
    network = create("gated")
    network.fusion.weights.copy_(torch.tensor([0.0, 1.0]))
    network.frame.forward = None
    expected = network.flow(inputs[1]).log_softmax(1)
    torch.testing.assert_close(network(*inputs[:2]).log_softmax(1), expected)


def test_a_gate_is_an_average_before_it_is_fitted(inputs):
    expected = create("average")(*inputs[:2]).log_softmax(1)
    torch.testing.assert_close(create("gated")(*inputs[:2]).log_softmax(1), expected)


def test_unknown_settings_are_refused():
    with pytest.raises(ActionRecError, match=r"model\.fusion=sum"):
        create("sum")
    with pytest.raises(ActionRecError, match="rgb is not a stream; use frame and flow"):
        create("concat", ["rgb"])
    with pytest.raises(ActionRecError, match="two streams or more"):
        create("concat", count=1)
    for name in ("fusion", "training", "forward", "names", "streams"):
        with pytest.raises(ActionRecError, match=f"cannot be called {name}"):
            MultiStream({"frame": stream(3, 6), name: stream(3, 6)}, 5, "concat")


def test_bagged_networks_answer_with_their_mean_probability(inputs):
    torch.manual_seed(0)
    networks = [stream(3, 6).eval() for _ in range(3)]
    bagged = Bagged(networks).eval()
    each = torch.stack([network(inputs[0]).softmax(1) for network in networks])
    torch.testing.assert_close(bagged(inputs[0]).exp(), each.mean(0))
    bagged.whole = False
    torch.testing.assert_close(bagged(inputs[0]), networks[0](inputs[0]))
    assert torch.equal(bagged.embed(inputs[0]), networks[0].embed(inputs[0]))
    assert bagged.maps(inputs[0]).shape == (4, 6, 6, 6)
    assert members_of(bagged) == networks
    assert members_of(networks[0]) == networks[:1]
    assert sum(weight.numel() for weight in bagged.parameters()) == 3 * sum(
        weight.numel() for weight in networks[0].parameters()
    )
