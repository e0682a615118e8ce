"""Grad-CAM in annotated copies."""

import cv2
import numpy as np
import pytest
import torch

from actionrec.modules.checkpoint import load_module, read
from actionrec.prediction import looks, output, pipeline
from actionrec.prediction import run as predicting
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.drawing import Caption, Inset, annotated
from actionrec.prediction.loading import load
from actionrec.prediction.looks import Looks
from actionrec.prediction.output import Segmentation
from actionrec.prediction.pipeline import Windowing
from actionrec.storage.video import iter_frames
from tests.conftest import noise_video
from tests.prediction.conftest import loaded

CPU = ("accelerator=cpu", "precision=32-true")
CUT = Windowing(True, 0.4, 0.2)


def looked(found, path, windowing):
    """The pictures of a file, with the course of its probabilities."""
    [scored] = pipeline.predict([path], found.reader, found.network, windowing, 8)
    course = output.course(scored, Calibration(), windowing, Segmentation(0.2, 0.5, 0.3, 0))
    return list(Looks(found.module, found.inputs).of(scored, course, windowing)), course


def test_each_window_has_its_own_pictures(light_run, compose_config, tmp_path, monkeypatch):
    found, asked = loaded(compose_config("predict", f"checkpoint={light_run}", *CPU)), []
    saliency = looks.saliency

    def noted(network, inputs, answers):
        asked.extend(answers.tolist())
        return saliency(network, inputs, answers)

    monkeypatch.setattr(looks, "saliency", noted)
    monkeypatch.setattr(looks, "AT_ONCE", 2)
    pictures, course = looked(found, noise_video(tmp_path / "a.avi", 30), CUT)
    assert len(pictures) == len(course.probabilities) == 5
    assert asked == course.probabilities.argmax(1).tolist()  # of the likeliest action, once a window
    assert [[each.title for each in row] for row in pictures] == [["Grad-CAM: frame"]] * 5
    different = {row[0].picture.tobytes() for row in pictures}
    assert len(different) > 1
    [whole], _ = looked(found, noise_video(tmp_path / "b.avi", 8), Windowing())
    assert whole[0].picture.shape == (32, 32, 3)


@pytest.mark.ci
def test_every_stream_is_looked_at_but_those_that_a_gate_leaves_out(checkpoint_of, compose_config, tmp_path):
    path = checkpoint_of("experiment=two_stream", "model.fusion=gated", "model.frozen=[frame,flow]")
    video = noise_video(tmp_path / "a.avi", 12)
    [pictures], _ = looked(loaded(compose_config("predict", f"checkpoint={path}", *CPU)), video, Windowing())
    assert [each.title for each in pictures] == ["Grad-CAM: frame", "Grad-CAM: flow"]
    content = torch.load(path, weights_only=True)
    content["state_dict"]["network.fusion.weights"] = torch.tensor([0.0, 1.0])
    torch.save(content, path)
    [pictures], _ = looked(loaded(compose_config("predict", f"checkpoint={path}", *CPU)), video, Windowing())
    assert [each.title for each in pictures] == ["Grad-CAM: flow"]
    assert load_module(path, read(path)).network.used == ["flow"]


def test_pictures_are_in_a_row_below_the_panel():
    caption, frame = Caption("clap", 0.5, (255, 0, 0), ""), np.full((240, 320, 3), 200, np.uint8)
    without = annotated(frame, caption, 0.0, None)
    green, blue = (np.full((50, 50, 3), colour, np.uint8) for colour in ((0, 255, 0), (0, 0, 255)))
    for number in (1, 2, 5):
        found = annotated(frame, caption, 0.0, None, [Inset("a", green), *[Inset("b", blue)] * (number - 1)])
        assert (found[: len(without)] == without).all()
        row = found[len(without) :]
        assert (row.shape[0] % 2, row.shape[1]) == (0, without.shape[1])
        side = (row == (0, 255, 0)).all(axis=2).any(axis=0).sum()
        assert side == pytest.approx(480 / max(number, 3), rel=0.1)
        assert (row == (0, 0, 255)).all(axis=2).any(axis=0).sum() == pytest.approx(side * (number - 1), rel=0.05)


def test_the_command_draws_them_on_request(run, light_run, tmp_path):
    noise_video(tmp_path / "v" / "a.avi", 8)
    cv2.imwrite(str(tmp_path / "v" / "b.png"), np.full((48, 64, 3), 99, np.uint8))
    heights = {}
    for place, words in (("without", []), ("with", ["grad_cam=true"])):
        out = tmp_path / place
        outcome = run("predict", str(light_run), f"source={tmp_path / 'v'}", f"annotate={out}", *words, *CPU)
        assert outcome.status == 0, outcome.err
        heights[place] = len(next(iter(iter_frames(out / "a.mp4")))), len(cv2.imread(str(out / "b.png")))
    assert np.subtract(heights["with"], heights["without"]).tolist() == [160, 160]


def test_it_needs_annotated_copies_and_gradients(run, light_run, tmp_path, monkeypatch):
    video = noise_video(tmp_path / "a.avi", 8)
    outcome = run("predict", str(light_run), f"source={video}", "grad_cam=true", *CPU)
    assert outcome.err.strip().splitlines()[-1].endswith("name one with annotate=<file or folder>")
    monkeypatch.setattr(predicting, "load", lambda *given: load(*given)._replace(module=None))  # as of an exported file
    outcome = run("predict", str(light_run), f"source={video}", f"annotate={tmp_path / 'b.mp4'}", "grad_cam=true", *CPU)
    assert "grad_cam=true needs gradients" in outcome.err
    assert not (tmp_path / "b.mp4").exists()
