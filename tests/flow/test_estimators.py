import cv2
import numpy as np
import pytest

from actionrec.errors import ActionRecError
from actionrec.flow.estimators import create

TOLERANCE = {"farneback": 0.25, "dis_ultrafast": 0.35, "dis_fast": 0.25, "dis_medium": 0.15, "tvl1": 0.15}  # pixels


def moving_texture(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Two frames (96, 128) of a texture that moves by (dx, dy)."""
    noise = np.random.default_rng(1).integers(0, 256, (160, 200), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    return texture[30:126, 30:158], texture[30 - dy : 126 - dy, 30 - dx : 158 - dx]


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (-2, 3), (6, -4)])
def test_flow_of_a_translation_is_the_translation(compose_config, name, dx, dy):
    settings = compose_config("train", "experiment=hmdb51_flow", f"flow={name}").flow
    field = create(settings.algorithm, settings.params)(*moving_texture(dx, dy))
    assert field.shape == (96, 128, 2)
    assert field.dtype == np.float32
    error = np.linalg.norm(field - np.array([dx, dy]), axis=-1)[16:-16, 16:-16]
    assert error.mean() < TOLERANCE[name]


@pytest.mark.parametrize(
    ("algorithm", "params", "message"),
    [
        ("brox", {}, r"flow\.algorithm=brox: use one of farneback, dis, tvl1"),
        ("dis", {"preset": "slow"}, r"flow\.params\.preset=slow"),
        ("farneback", {"window": 3}, "flow.params do not fit farneback"),
    ],
)
def test_wrong_settings_are_named(algorithm, params, message):
    with pytest.raises(ActionRecError, match=message):
        create(algorithm, params)
