import cv2
import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image

from actionrec.datasets.records import Clip
from actionrec.flow.field import quantize, stack
from actionrec.flow.visualize import flow_colours, magnitude_colours, stack_colours, write_preview
from actionrec.storage.flow import FlowSettings
from actionrec.system.errors import ActionRecError
from tests.conftest import noise_video

BOUND = 20.0


def test_the_colours_are_those_of_the_field():
    """Compared with torchvision, which scales by the longest displacement."""
    field = np.random.default_rng(0).normal(0, 3, (20, 30, 2)).astype(np.float32)
    expected = flow_to_image(torch.from_numpy(field).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    found = flow_colours(field, float(np.hypot(field[..., 0], field[..., 1]).max()) + 1e-4)
    assert np.abs(found.astype(int) - expected).max() <= 1  # it computes in float32


def test_rest_is_white_directions_differ_and_longer_is_darker():
    field = np.array([[[0, 0], [5, 0], [-5, 0], [0, 5], [0, -5], [9, 0]]], float)
    colours = flow_colours(field, 5.0)[0]
    assert colours[0].tolist() == [255, 255, 255]
    assert len({tuple(colour) for colour in colours}) == 6
    assert colours[5].sum() < colours[1].sum()


def test_magnitude_grows_from_black_to_bright():
    lengths = np.array([[0.0, 1, 2, 4, 5, 50]])
    brightness = magnitude_colours(np.stack([lengths, 0 * lengths], -1), 5.0).sum(-1)[0].astype(int)
    assert (np.diff(brightness[:5]) > 0).all()
    assert brightness[4] == brightness[5]


@pytest.mark.parametrize("representation", ["xy", "magnitude"])
def test_a_stack_shows_its_middle_field(representation):
    fields = np.zeros((4, 8, 8, 2), np.float32)
    fields[2, :, 4:] = (3, -2)
    shown = stack_colours(stack(quantize(fields, BOUND), representation), representation, BOUND)
    assert shown.shape == (8, 8, 3)
    assert (shown[:, :4] == shown[0, 0]).all()
    assert (shown[:, 4:] == shown[0, 7]).all()
    assert shown[0, 0].tolist() != shown[0, 7].tolist()


def test_a_preview_has_a_frame_for_each_field(tmp_path):
    clip = Clip(noise_video(tmp_path / "a.avi", 5), "", "")
    path = tmp_path / "previews" / "a.mp4"
    write_preview(path, clip, FlowSettings("dis", {"preset": "ultrafast"}))
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 4
    assert frames[0].shape == (48 + 20, 3 * 64, 3)
    panels = np.split(frames[0][20:].astype(int), 3, axis=1)
    assert np.abs(panels[0] - panels[1]).mean() > 5
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]


def test_a_preview_of_nothing_is_refused(tmp_path):
    clip = Clip(noise_video(tmp_path / "a.avi", 1), "", "")
    with pytest.raises(ActionRecError, match="one frame only"):
        write_preview(tmp_path / "previews" / "a.mp4", clip, FlowSettings("dis", {"preset": "ultrafast"}))
    assert not any((tmp_path / "previews").iterdir())
