"""`actionrec features`: vectors that give the network's scores when its head is applied to them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from actionrec.modules.checkpoint import load_module, read
from actionrec.prediction import pipeline
from actionrec.prediction.features import mean_of_views
from actionrec.prediction.pipeline import Scored, Windowing
from tests.conftest import noise_video, raise_error
from tests.prediction.conftest import loaded

CPU = ("accelerator=cpu", "precision=32-true")


def found(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("overrides", [["experiment=flow"], ["experiment=two_stream", "model.fusion=concat_features"]])
def test_the_head_makes_the_scores_of_them(checkpoint_of, run, compose_config, tmp_path, overrides):
    path = checkpoint_of(*overrides)
    videos = [noise_video(tmp_path / "videos" / f"{name}.avi", 12, seed) for seed, name in enumerate("ab")]
    outcome = run("features", str(path), f"source={tmp_path / 'videos'}", f"out={tmp_path / 'x.npz'}", *CPU)
    assert outcome.status == 0, outcome.err
    made, module = found(tmp_path / "x.npz"), load_module(path, read(path))
    several = len(module.streams) > 1
    features = [made[f"features_{name}" if several else "features"] for name in module.streams]
    assert [each.dtype for each in features] == [np.float32] * len(features)
    layer = module.network.fusion if several else module.network.head
    logits = F.linear(torch.from_numpy(np.concatenate(features, axis=1)), layer.weight, layer.bias)
    network = loaded(compose_config("predict", f"checkpoint={path}", *CPU))
    scored = list(pipeline.predict(videos, network.reader, network.network, Windowing(), 8))
    expected = torch.cat([each.logits for each in scored if isinstance(each, Scored)])
    assert expected.std(dim=0).max() > 1e-4
    torch.testing.assert_close(logits.detach(), expected, rtol=1e-5, atol=1e-5)
    assert made["sources"].tolist() == [str(video) for video in videos]
    assert made["actions"].tolist() == list(module.actions)
    assert made["start"].tolist() == [0, 0]
    assert made["end"].tolist() == pytest.approx([12 / 25] * 2)
    assert made["rate"].tolist() == pytest.approx([25, 25])
    assert json.loads(str(made["metadata"]))["stage"] == module.lineage["stage"]


def test_a_long_video_has_a_vector_for_each_window(light_run, run, tmp_path):
    video, out = noise_video(tmp_path / "a.avi", 60), tmp_path / "x.npz"
    window = ["window=true", "window.seconds=1", "window.hop=0.5"]
    outcome = run("features", str(light_run), f"source={video}", f"out={out}", *window, "views.segments=2", *CPU)
    assert outcome.status == 0, outcome.err
    made = found(out)
    assert made["start"].tolist() == [0, 0.5, 1]
    assert made["end"].tolist() == [1, 1.5, 2]
    assert made["features"].shape == (3, 1024)
    assert len(np.unique(made["features"], axis=0)) == 3
    assert made["sources"].tolist() == [str(video)] * 3


def test_views_are_averaged_by_window_in_the_order_of_time():
    windows = torch.tensor([0, 1, 0, 2, 1, 2])  # overlapping windows take turns
    rows = torch.tensor([[1.0], [10.0], [3.0], [100.0], [30.0], [300.0]])
    assert mean_of_views(windows, rows).tolist() == [[2], [20], [200]]


def test_an_image_has_no_times_and_failures_leave_the_other_vectors(light_run, run, tmp_path):
    Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "a.png")
    (tmp_path / "b.mp4").write_text("no video")
    sources = f"source=[{tmp_path / 'a.png'},{tmp_path / 'b.mp4'}]"
    outcome = run("features", str(light_run), sources, f"out={tmp_path / 'x.npz'}", *CPU)
    assert outcome.status == 1
    assert "b.mp4" in outcome.err
    assert outcome.err.strip().splitlines()[-1].startswith("error: 1 of 2 files failed")
    made = found(tmp_path / "x.npz")
    assert made["sources"].tolist() == [str(tmp_path / "a.png")]
    assert np.isnan([made["start"], made["end"], made["rate"]]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which network"),
        (["{run}"], "say of which files"),
        (["{run}", "source=0"], "source=0: features are of files"),
        (["{run}", "source=a.mp4", "out=x.csv"], "out=x.csv: use the name of a file that ends with .npz"),
        (["x.onnx", "source=a.mp4"], "checkpoint=x.onnx returns scores alone"),
        (["{run}", "source=a.mp4", "top=3"], "top"),
        (["{run}", "source=gone.mp4"], "gone.mp4: no such file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(light_run, run, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    outcome = run("features", *(word.format(run=light_run) for word in words), *CPU)
    assert outcome.status == 1
    assert said in outcome.err.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_part_of_a_file(light_run, run, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez_compressed", raise_error(OSError(28, "No space left on device")))
    video = noise_video(tmp_path / "a.avi", 4)
    outcome = run("features", str(light_run), f"source={video}", f"out={tmp_path / 'out' / 'x.npz'}", *CPU)
    assert outcome.status == 1
    assert "make room" in outcome.err
    assert list((tmp_path / "out").iterdir()) == []
