import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model

from actionrec.networks.backbone import check_maps, first_convolution, last_maps
from actionrec.networks.video import create
from actionrec.system.errors import ActionRecError

NAMES = torchvision.models.list_models(module=torchvision.models.video)
KINETICS = (110.2008, 100.6398, 95.9948), (58.1477, 56.4698, 55.3322)
IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
GRAY = (114.75,) * 3, (57.375,) * 3


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Small video networks of torchvision by name, with the files of their weights."""
    torch.manual_seed(0)
    made = {}
    for name in ("mc3_18", "s3d", "swin3d_t"):
        file = tmp_path_factory.mktemp("weights") / f"{name}.pth"
        made[name] = get_model(name).eval(), str(file)
        torch.save(made[name][0].state_dict(), file)
    return made


def clip(frames: int = 8, size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, frames, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_every_video_classifier_gives_features_and_maps(name):
    with torch.device("meta"):
        network = create(name, None, 16, 224).eval()
        x = torch.empty(2, 3, 16, 224, 224)
        assert network(x).shape == (2, network.features)
        maps = network.maps(x)
    assert maps.dim() == 4
    assert maps.shape[1] == network.features or name.startswith("mvit")
    assert maps.shape[2] == maps.shape[3] > 1
    assert first_convolution(network).weight.shape[1] == 3
    layers = list(network.modules())
    assert not any(layer.out_features == 400 for layer in layers if isinstance(layer, nn.Linear))
    assert not any(layer.out_channels == 400 for layer in layers if isinstance(layer, nn.Conv3d))
    assert not any(layer.p for layer in layers if isinstance(layer, nn.Dropout))


@pytest.mark.parametrize(("name", "head"), [("mc3_18", "fc"), ("swin3d_t", "head")])
@torch.no_grad()
def test_the_head_makes_torchvisions_logits_of_the_features(classifiers, name, head):
    theirs, file = classifiers[name]
    ours = create(name, file, 8, 64).eval()
    x = clip(size=64)
    features, maps = ours(x), ours.maps(x)
    assert torch.allclose(theirs.get_submodule(head)(features), theirs(x), atol=1e-5)
    assert torch.allclose(maps.mean((2, 3)), features, atol=1e-5)
    assert maps.shape[2] == maps.shape[3] > 1


@torch.no_grad()
def test_s3d_pools_clips_of_every_size_as_torchvision_pools_its_own(classifiers):
    theirs, file = classifiers["s3d"]
    volume = torch.rand(2, 1024, 2, 7, 7)  # of 16 frames of 224
    ours = create("s3d", file, 8, 32).eval()
    assert torch.allclose(ours.network.pool(volume).flatten(1), theirs.avgpool(volume).flatten(1), atol=1e-6)
    assert ours(clip()).shape == (2, 1024)


@pytest.mark.parametrize(("name", "size"), [("mc3_18", 32), ("s3d", 64)])
@torch.no_grad()
def test_a_rebuilt_network_gives_the_features_and_the_maps_of_the_one_that_was_saved(classifiers, name, size):
    network = create(name, classifiers[name][1], 8, size).eval()
    again = create(name, None, 8, size).eval()
    assert not torch.equal(again(clip(size=size)), network(clip(size=size)))
    again.load_state_dict(network.state_dict())
    features = network(clip(size=size))
    assert torch.equal(again(clip(size=size)), features)
    assert (again.mean, again.std) == (network.mean, network.std)
    maps = again.maps(clip(size=size))
    assert maps.shape == (2, network.features, 2, 2)
    assert torch.allclose(maps.mean((2, 3)), features, atol=1e-5)


def test_weights_of_torchvision_are_those_of_its_own_network(pretrained):
    torch.manual_seed(5)
    ours = create("mc3_18", "KINETICS400_V1", 8, 32).eval()
    theirs = get_model("mc3_18", weights="DEFAULT").eval()
    with torch.no_grad():
        assert torch.allclose(theirs.fc(ours(clip())), theirs(clip()), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("r3d_18", None, KINETICS),
        ("s3d", None, KINETICS),
        ("mvit_v1_b", None, GRAY),
        ("mvit_v2_s", None, GRAY),
        ("swin3d_b", None, IMAGENET),
        ("swin3d_b", "KINETICS400_IMAGENET22K_V1", IMAGENET),
    ],
)
def test_clips_are_normalised_with_the_constants_of_the_weights(pretrained, name, weights, expected):
    with torch.device("meta"):
        network = create(name, weights, 16, 224)
    assert network.mean == pytest.approx(expected[0], abs=1e-3)
    assert network.std == pytest.approx(expected[1], abs=1e-3)
    assert not network.custom_constants


def test_users_may_set_the_constants():
    with torch.device("meta"):
        network = create("r3d_18", None, 8, 64, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
        assert (network.mean, network.std, network.custom_constants) == ((127.5, 102.0, 76.5), (51.0, 51.0, 51.0), True)
        with pytest.raises(ActionRecError, match=r"^model\.clip\.backbone\.std=\[0\.2, 0\.2, 0\]: use three numbers"):
            create("r3d_18", None, 8, 64, std=[0.2, 0.2, 0])


@pytest.mark.parametrize(
    ("name", "frames", "size", "hint"),
    [
        ("mvit_v2_s", 8, 224, r"use data\.clip\.frames=16 with data\.size=224, or"),
        ("mvit_v1_b", 16, 112, r"use data\.clip\.frames=16 with data\.size=224, or"),
        ("s3d", 4, 112, r"use more data\.clip\.frames, a larger data\.size or"),
    ],
)
def test_clips_that_a_network_does_not_take_are_one_line_before_anything_is_downloaded(
    monkeypatch, name, frames, size, hint
):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("downloaded"))
    match = (
        rf"^model\.clip\.backbone\.name={name} does not take data\.clip\.frames={frames} of data\.size={size}"
        rf"[^\n]*{hint} another model\.clip\.backbone\.name$"
    )
    with pytest.raises(ActionRecError, match=match):
        create(name, "DEFAULT", frames, size)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet18", None, r"name=resnet18: not a torchvision video classifier; use one of mc3_18, mvit_v1_b, "),
        ("r3d_18", "IMAGENET1K_V1", r"weights=IMAGENET1K_V1: r3d_18 has KINETICS400_V1, DEFAULT, null, or a file"),
        ("r3d_18", "nowhere.pth", r"weights=nowhere\.pth: no such file"),
    ],
)
def test_unknown_names_are_refused(name, weights, message):
    with torch.device("meta"), pytest.raises(ActionRecError, match=rf"^model\.clip\.backbone\.{message}"):
        create(name, weights, 8, 64)


def test_weights_of_another_network_are_refused(classifiers):
    with pytest.raises(ActionRecError, match=r"^model\.clip\.backbone\.weights=.*its layers are not those of"):
        create("s3d", classifiers["mc3_18"][1], 8, 32)


def test_weights_that_cannot_be_downloaded_say_what_to_set_instead(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _no_network)
    with pytest.raises(
        ActionRecError, match=r"cannot be downloaded \(no route.*model\.clip\.backbone\.weights=null"
    ) as e:
        create("s3d", "DEFAULT", 8, 32)
    assert "efficientnet" not in str(e.value)  # which sees pictures


@pytest.mark.parametrize("name", NAMES)
def test_fusion_by_convolution_takes_the_networks_that_pool_their_maps(name):
    with torch.device("meta"):
        network = create(name, None, 16, 224)
        if not name.startswith("mvit"):
            check_maps(network)
            return
        with pytest.raises(ActionRecError, match=r"model\.fusion=conv needs backbones whose features are the mean"):
            check_maps(network)


def test_the_last_maps_are_a_layer_that_grad_cam_can_ask():
    with torch.device("meta"):
        network = create("swin3d_t", None, 8, 64).eval()
        seen = []
        network.get_submodule(last_maps(network)).register_forward_hook(lambda *call: seen.append(call[-1].shape))
        network(torch.empty(2, 3, 8, 64, 64))
    assert seen == [(2, network.features, 4, 2, 2)]


def _no_network(*args, **kwargs):
    raise OSError("no route to host")
