import numpy as np
import pytest
import torch
from torch import nn

from actionrec.evaluation.gradcam import overlay, saliency
from actionrec.networks.backbone import Backbone, create, last_maps
from actionrec.networks.stream import VOLUME, Bagged, Stream
from actionrec.networks.streams import MultiStream
from actionrec.networks.video import VideoBackbone


def stream(channels: int = 3) -> Stream:
    """One map, the mean of the channels; action 1 likes it bright, action 0 dark."""
    body = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(body[0].weight, 1 / channels)
    nn.init.zeros_(body[0].bias)
    made = Stream(Backbone(body, 1), 2, mean=(0.0,), std=(1.0,))
    with torch.no_grad():
        made.head.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    return made


def test_what_speaks_for_an_action_is_found_where_it_is():
    picture = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    picture[0, :, 2:4, 5:7] = 200
    picture[1, :, 6:8, 0:2] = 100
    network = stream().train()
    [found] = saliency(network, {"frame": picture}, torch.tensor([1, 1])).values()
    assert torch.equal(found > 0.5, picture.float().mean(1) > 0)
    assert found.amax((1, 2)).tolist() == [1, 1]
    [against] = saliency(network, {"frame": picture}, torch.tensor([0, 0])).values()
    assert not against.any()
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("frozen", [(), ("frame", "flow")])
def test_both_streams_are_asked(frozen):
    network = MultiStream({"frame": stream(), "flow": stream(8)}, 2, "concat", frozen).train()
    inputs = [torch.zeros(1, channels, 8, 8, dtype=torch.uint8) for channels in (3, 8)]
    inputs[0][..., 0, 0] = inputs[1][..., 7, 7] = 255
    found = saliency(network, dict(zip(("frame", "flow"), inputs, strict=True)), torch.tensor([1]))
    assert (found["frame"][0].argmax(), found["flow"][0].argmax()) == (0, 63)


def test_a_stream_that_a_gate_leaves_out_is_left_out():
    """Its feature maps are not computed, and its input may be missing."""
    network = MultiStream({"frame": stream(), "flow": stream(8)}, 2, "gated")
    network.fusion.weights.copy_(torch.tensor([0.0, 1.0]))
    flow = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    flow[..., 7, 7] = 255
    for inputs in ({"flow": flow}, {"frame": torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "flow": flow}):
        found = saliency(network, inputs, torch.tensor([1]))
        assert list(found) == ["flow"]
        assert found["flow"][0].argmax() == 63


def test_of_bagged_networks_the_first_is_asked():
    blind = stream()
    nn.init.zeros_(blind.backbone.network[0].weight)
    picture = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    picture[..., 2, 2] = 255
    [found] = saliency(Bagged([stream(), blind]), {"frame": picture}, torch.tensor([1])).values()
    assert found[0].argmax() == 18
    [found] = saliency(Bagged([blind, stream()]), {"frame": picture}, torch.tensor([1])).values()
    assert not found.any()


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet18", (512, 7, 7)), ("efficientnet_lite0", (1280, 7, 7)), ("densenet121", (1024, 7, 7))]
)
def test_the_last_maps_are_what_the_features_are_the_mean_of(name, shape):
    torch.manual_seed(0)
    backbone = create(name, None).eval()
    assert last_maps(backbone)
    picture = torch.rand(2, 3, 224, 224)
    maps = backbone.maps(picture)
    assert maps.shape == (2, *shape)
    assert torch.allclose(maps.mean((2, 3)), backbone(picture), atol=1e-4)


def test_a_clip_is_asked_as_a_whole():
    """Its map is the mean over time of maps of which there may be fewer than frames."""
    body = nn.Sequential(nn.Conv3d(3, 1, 1, stride=(2, 1, 1)), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    nn.init.constant_(body[0].weight, 1 / 3)
    nn.init.zeros_(body[0].bias)
    network = Stream(VideoBackbone(body, 1, "0", (0.0,), (1.0,)), 2, (0.0,), (1.0,), dimensions=VOLUME)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    clip = torch.zeros(1, 3, 4, 8, 8, dtype=torch.uint8)
    clip[0, :, 0, 1, 1], clip[0, :, :, 6, 6] = 200, 200
    [found] = saliency(network, {"clip": clip}, torch.tensor([1])).values()
    assert found.shape == (1, 8, 8)
    assert (found[0, 6, 6], found[0, 1, 1], found[0, 3, 3]) == (1, 0.5, 0)


def test_streams_without_maps_are_left_out():
    body = nn.Sequential(nn.Conv2d(3, 4, 224), nn.Flatten())
    network = Stream(Backbone(body, 4), 2, mean=(0.0,), std=(1.0,))
    assert saliency(network, {"frame": torch.zeros(1, 3, 224, 224, dtype=torch.uint8)}, torch.tensor([0])) == {}


def test_a_map_colours_what_is_most_and_leaves_the_rest_gray():
    picture = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    strength = np.zeros((4, 4))
    strength[0, 0] = 1
    found = overlay(picture, strength)
    assert len(set(found[3, 3])) == 1
    assert found[0, 0, 0] > found[0, 0, 2]
