"""A network built without weights and loaded from its checkpoint equals the saved one, with its normalisation."""

import pytest
import torch
import torchvision
from torch import nn

from actionrec.modules import FlowModule, FrameModule, TwoStreamModule
from actionrec.networks import backbone as backbones
from actionrec.streams import Flow, Frame
from actionrec.system.errors import ActionRecError

ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
ACTIONS = ["clap", "wave"]
FRAME, FLOW = Frame().settings(), Flow("dis").settings()
IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
HALF = (127.5,) * 3, (127.5,) * 3
# Small ones of every builder that does something of its own with weights.
NETWORKS = [
    *(("resnet18", 64), ("googlenet", 64), ("inception_v3", 96), ("shufflenet_v2_x0_5", 64), ("squeezenet1_1", 64)),
    *(("mobilenet_v3_small", 64), ("mnasnet0_5", 64), ("regnet_y_400mf", 64), ("efficientnet_b0", 64)),
    *(("efficientnet_lite0", 64), ("timm:resnet10t", 64), ("timm:vit_tiny_patch16_224", 224)),
    ("timm:deit_tiny_distilled_patch16_224", 224),
]


def settings(name: str, weights: str | None = "DEFAULT") -> dict:
    return {"name": name, "weights": weights, "stem": "inflate"}


def frame_module(backbone: dict, size: int = 64) -> FrameModule:
    return FrameModule(ACTIONS, {"size": size, "streams": {"frame": FRAME}}, ADAM, frame={"backbone": backbone})


def flow_module(backbone: dict, size: int = 64, **stack) -> FlowModule:
    inputs = {"size": size, "streams": {"flow": Flow("dis", **stack).settings()}}
    return FlowModule(ACTIONS, inputs, ADAM, flow={"backbone": backbone})


def checkpoint_of(module, **lineage) -> dict:
    """The checkpoint that Lightning saves of a module."""
    module.lineage = {"model": type(module).__name__, "inputs": module.inputs, "actions": ACTIONS, **lineage}
    saved = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(saved)
    return {**saved, "pytorch-lightning_version": "2.6.6"}


def rebuilt(checkpoint: dict, kind, path):
    torch.save(checkpoint, path)
    return kind.load_from_checkpoint(path, map_location="cpu", weights_only=True)


def of_before(checkpoint: dict) -> dict:
    """The checkpoint of an earlier version: without the constants, and with its lineage, except for the backbone."""
    state = {key: value for key, value in checkpoint["state_dict"].items() if not key.endswith((".mean", ".std"))}
    inputs = checkpoint["lineage"]["inputs"]
    flow = {key: value for key, value in inputs["streams"].get("flow", {}).items() if key != "_target_"}
    stack = {key: flow.pop(key) for key in ("fields", "stride", "representation") if flow}
    before = {"size": inputs["size"], **({"flow": flow} if flow else {}), **stack}
    return {**checkpoint, "state_dict": state, "lineage": {**checkpoint["lineage"], "inputs": before}}


def constants(stream) -> tuple:
    return tuple(tuple(round(v, 3) for v in values.flatten().tolist()) for values in (stream.mean, stream.std))


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_a_rebuilt_network_gives_the_logits_of_the_one_that_was_saved(pretrained, tmp_path, name, size):
    torch.manual_seed(0)
    module = frame_module(settings(name), size).eval()
    again = rebuilt(checkpoint_of(module), FrameModule, tmp_path / "a.ckpt").eval()
    batch = {"frame": torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)}
    with torch.no_grad():
        assert torch.equal(again(batch), module(batch))
    assert again.hparams["frame"]["backbone"]["weights"] is None


@pytest.mark.parametrize(
    ("name", "size"), [("googlenet", 64), ("inception_v3", 96), ("timm:vit_tiny_patch16_224", 224)]
)
def test_flow_streams_of_pretrained_networks_are_rebuilt(pretrained, tmp_path, name, size):
    torch.manual_seed(0)
    module = flow_module(settings(name), size).eval()
    again = rebuilt(checkpoint_of(module), FlowModule, tmp_path / "a.ckpt").eval()
    batch = {"flow": torch.randint(0, 256, (2, 8, size, size), dtype=torch.uint8)}
    with torch.no_grad():
        assert torch.equal(again(batch), module(batch))
    assert constants(again.network) == ((128.0,), (57.63,))


def test_weights_for_larger_pictures_are_rebuilt_for_them(pretrained):
    """The network is large, so it is built on the meta device."""
    with torch.device("meta"):
        module = frame_module(settings("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"), 384)
        again = FrameModule(**module.hparams)
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in module.state_dict().items()
        }
        with pytest.raises(ActionRecError, match=r"vit_b_16 does not take data\.size=224 .*; use data\.size=384"):
            frame_module(module.hparams["frame"]["backbone"], 224)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("resnet18", None, IMAGENET),
        ("resnet18", "IMAGENET1K_V1", IMAGENET),
        ("googlenet", "DEFAULT", HALF),
        ("inception_v3", None, HALF),
        ("efficientnet_v2_l", None, HALF),
        ("vgg16", "IMAGENET1K_FEATURES", ((122.9992, 117.0, 104.0), (1.0,) * 3)),
        ("efficientnet_lite0", None, HALF),
        ("timm:vit_tiny_patch16_224", None, HALF),
        ("timm:resnet10t", "DEFAULT", IMAGENET),
    ],
)
def test_every_backbone_has_the_constants_of_its_weights(pretrained, name, weights, expected):
    with torch.device("meta"):
        network = backbones.create(name, weights)
    assert network.mean == pytest.approx(expected[0], abs=1e-3)
    assert network.std == pytest.approx(expected[1], abs=1e-3)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inceptions_see_what_torchvision_shows_them(pretrained, name):
    """torchvision converts ImageNet's normalisation to Inception's within the network."""
    torch.manual_seed(0)
    ours = frame_module(settings(name), 96).eval()
    theirs = torchvision.models.get_model(name, weights="DEFAULT").eval()
    theirs.fc = nn.Identity()
    pictures = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    with torch.no_grad():
        assert torch.allclose(ours.network.embed(pictures), theirs((pictures - mean) / std), atol=1e-4)


def test_users_may_set_the_constants():
    network = backbones.create("shufflenet_v2_x0_5", None, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
    assert network.mean == (127.5, 102.0, 76.5)
    assert network.std == (51.0, 51.0, 51.0)
    for wrong in ([0.5], [0.5, 0.5, 200], "abc", [0.1, 0.1, 0]):
        with pytest.raises(ActionRecError, match=r"backbone\.std=.*three numbers from 0 to 1"):
            backbones.create("shufflenet_v2_x0_5", None, std=wrong)


def test_flow_is_scaled_alike_for_every_backbone():
    """The codes of flow are small; with a larger divisor the batch norm's epsilon would dominate the response."""
    for name, std in (("shufflenet_v2_x0_5", 57.63), ("efficientnet_lite0", 57.63)):
        for representation, mean in (("xy", 128.0), ("magnitude", 0.0)):
            module = flow_module(settings(name, None), representation=representation)
            assert constants(module.network) == ((mean,), (std,))


@pytest.mark.parametrize(
    ("name", "lineage", "expected"),
    [
        ("efficientnet_lite0", {}, IMAGENET),
        ("googlenet", {"backbone": settings("googlenet")}, HALF),
        ("googlenet", {"backbone": settings("googlenet", None)}, IMAGENET),
        ("googlenet", {"backbone": settings("googlenet", "my/weights.pth")}, IMAGENET),
        ("googlenet", {"backbone": settings("googlenet"), "parents": {"parent": {}}}, IMAGENET),
    ],
)
def test_checkpoints_of_before_have_what_they_were_trained_with(tmp_path, name, lineage, expected):
    module = frame_module(settings(name, None))
    old = of_before(checkpoint_of(module, **lineage))
    assert constants(rebuilt(old, FrameModule, tmp_path / "a.ckpt").network) == expected


def test_flow_and_two_streams_of_before_have_what_they_were_trained_with(tmp_path):
    lite = settings("efficientnet_lite0", None)
    for representation, mean in (("xy", 128.0), ("magnitude", 0.0)):
        module = flow_module(lite, representation=representation)
        old = rebuilt(of_before(checkpoint_of(module)), FlowModule, tmp_path / "a.ckpt")
        assert constants(old.network) == ((mean,), (57.63,))
    seen = {"size": 64, "streams": {"frame": FRAME, "flow": FLOW}}
    both = TwoStreamModule(ACTIONS, seen, ADAM, frame={"backbone": lite}, flow={"backbone": lite})
    old = rebuilt(of_before(checkpoint_of(both)), TwoStreamModule, tmp_path / "a.ckpt")
    assert constants(old.network.frame) == IMAGENET
    assert constants(old.network.flow) == ((128.0,), (57.63,))
