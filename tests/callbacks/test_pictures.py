import cv2
import numpy as np
import pytest
import torch

from actionrec.callbacks import pictures
from actionrec.flow.visualize import stack_colours
from actionrec.streams import Flow, Frame

INPUTS = {"size": 8, "streams": {"frame": Frame().settings(), "flow": Flow("dis").settings()}}


def noise(side: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)


def test_a_sample_is_shown_as_the_network_sees_it():
    frame, flow = noise(8), noise(8, 8).transpose(2, 0, 1)
    sample = {"frame": torch.from_numpy(frame).permute(2, 0, 1), "flow": torch.from_numpy(flow), "label": 1}
    shown = pictures.sample_pictures(sample, INPUTS)
    assert list(shown) == ["frame", "flow"]
    assert (shown["frame"] == frame).all()
    assert (shown["flow"] == stack_colours(flow, "xy", 20.0)).all()


def test_features_are_left_out():
    sample = {"frame": torch.zeros(512), "flow": torch.zeros(8, 4, 4, dtype=torch.uint8)}
    assert list(pictures.sample_pictures(sample, INPUTS)) == ["flow"]


def test_a_tile_enlarges_by_whole_pixels_and_writes_below():
    left, right = noise(100), 255 - noise(100)
    tile = pictures.tile([left, right], ["clap", "a name"], pictures.RED)
    assert (tile[:300:3, :300:3] == left).all()
    assert (tile[2:300:3, 304:602:3] == right).all()
    caption = tile[300:]
    assert (caption.reshape(-1, 3) == pictures.RED).all(1).any()
    assert (pictures.tile([left], [""])[300:] == 255).all()


@pytest.mark.parametrize("width", [60, 120, 1000])
def test_a_text_fits_and_keeps_its_ends(width):
    text = "April_09_brush_hair_u_nm_np1_ba_goo_0"
    short = pictures.shortened(text, width)
    assert cv2.getTextSize(short, *pictures._FONT, 1)[0][0] <= width
    assert short[:2] == text[:2]
    assert short[-2:] == text[-2:]
    assert (short == text) == (width == 1000)
    assert pictures.shortened("Höhe→", 1000) == "Hohe?"


def test_pictures_of_two_sizes_share_a_tile():
    left, right = (np.full((side, side, 3), value, np.uint8) for side, value in ((100, 10), (60, 200)))
    tile = pictures.tile([left, right], [""])
    assert (tile[:300, :300] == 10).all()
    assert (tile[:300, 302:602] == 200).all()
    assert (pictures.tile([right, left], [""])[:300, :300] == 200).all()


def test_a_grid_has_each_tile_at_its_place():
    tiles = [np.full((10, 20, 3), value, np.uint8) for value in range(5)]
    grid = pictures.grid(tiles, columns=2)
    assert grid.shape == (3 * 10 + 2 * pictures.GAP, 2 * 20 + pictures.GAP, 3)
    for index in range(5):
        top, left = index // 2 * (10 + pictures.GAP), index % 2 * (20 + pictures.GAP)
        assert (grid[top : top + 10, left : left + 20] == index).all()
    assert (grid[-10:, -20:] == 255).all()
    free = pictures.grid(tiles * 4)
    assert 0.5 < free.shape[0] / free.shape[1] < 2


def test_filters_are_pictures_of_rgb_and_gray_rows_of_channels():
    weight = torch.zeros(4, 3, 7, 7)
    weight[0, 0, 0, 0], weight[1, 1, 0, 0] = 2.0, -0.1
    rgb = pictures.filters(weight)
    side = 7 * 4
    assert rgb[0, 0].tolist() == [255, 128, 128]
    assert rgb[0, side + pictures.GAP].tolist() == [128, 0, 128]
    gray = pictures.filters(torch.cat([weight, weight], dim=1)[:1])
    assert gray.shape[1] == 6 * side + 5  # a pixel between the channels
    assert gray[0, 0].tolist() == gray[0, 3 * (side + 1)].tolist() == [255] * 3
    assert gray[0, side + 1].tolist() == [128] * 3
