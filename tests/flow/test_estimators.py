import cv2
import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small
from torchvision.transforms._presets import OpticalFlow

from actionrec.flow.estimators import create
from actionrec.system.errors import ActionRecError

TOLERANCE = {
    "farneback": 0.25,
    "dis_ultrafast": 0.35,
    "dis_fast": 0.25,
    "dis_balanced": 0.15,
    "dis_medium": 0.15,
    "tvl1": 0.15,
}  # pixels


def moving_texture(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Two frames (96, 128) of a texture that moves by (dx, dy) pixels."""
    noise = np.random.default_rng(1).integers(0, 256, (160, 200), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    return texture[30:126, 30:158], texture[30 - dy : 126 - dy, 30 - dx : 158 - dx]


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (-2, 3), (6, -4)])
def test_flow_of_a_translation_is_the_translation(compose_config, name, dx, dy):
    settings = compose_config("train", "experiment=hmdb51_flow", f"flow={name}").flow
    [field] = create(settings.algorithm, settings.params).fields(moving_texture(dx, dy))
    assert field.shape == (96, 128, 2)
    assert field.dtype == np.float32
    error = np.linalg.norm(field - np.array([dx, dy]), axis=-1)[16:-16, 16:-16]
    assert error.mean() < TOLERANCE[name]


@pytest.mark.parametrize(
    ("algorithm", "params", "message"),
    [
        ("brox", {}, r"flow\.algorithm=brox: use one of farneback, dis, tvl1, raft"),
        ("dis", {"preset": "slow"}, r"flow\.params\.preset=slow"),
        ("farneback", {"window": 3}, "flow.params do not fit farneback"),
    ],
)
def test_wrong_settings_are_named(algorithm, params, message):
    with pytest.raises(ActionRecError, match=message):
        create(algorithm, params)


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return str(path)


def test_raft_is_torchvisions_for_any_size_and_batch(raft_weights):
    """With random weights from a file, the network gets the frames as from torchvision's preset; no field is lost."""
    estimator = create("raft", {"network": "raft_small", "weights": raft_weights, "updates": 2})
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 136, 128, 3), np.uint8))
    found = estimator.fields(frames)
    assert [field.shape for field in found] == [(136, 128, 2)] * 2
    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(raft_weights, weights_only=True))
    first, second = (torch.from_numpy(frame).permute(2, 0, 1)[None] for frame in frames[1:])
    with torch.inference_mode():
        expected = network(*OpticalFlow()(first, second), num_flow_updates=2)[-1][0].permute(1, 2, 0)
    assert found[1] == pytest.approx(expected.numpy(), abs=1e-2)
    assert estimator.colour
    [odd] = estimator.fields([frame[:50, :61] for frame in frames[:2]])
    assert odd.shape == (50, 61, 2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"network": "raft_tiny"}, "use one of raft_small, raft_large"),
        ({"network": "raft_small", "weights": "NOPE"}, "weights=NOPE: use a file or one of C_T_V1, C_T_V2"),
        ({"network": "raft_large", "weights": "FILE"}, "cannot load .* into raft_large: .*; use a file with its state"),
    ],
)
def test_wrong_raft_settings_are_named(raft_weights, params, message):
    if params.get("weights") == "FILE":
        params = {**params, "weights": raft_weights}
    with pytest.raises(ActionRecError, match=message):
        create("raft", params)
