"""The page's result for a file: that of `actionrec predict`, and each stream's answer besides."""

import base64
import json

import cv2
import numpy as np
import pytest
import torch

from actionrec.page.looking import FUSION, heard, look
from actionrec.page.showing import summary, view
from actionrec.prediction.output import NONE
from tests.conftest import attempt
from tests.export.conftest import batch_of
from tests.page.conftest import RUNS

CPU = ("accelerator=cpu", "precision=32-true", "views.segments=1", "views.crops=1")


def looked(network_of, path, name, *overrides):
    loaded, networks = network_of(name, *overrides)
    ticks = []
    result = look(
        path, loaded, networks.lock, networks.config, lambda: ticks.append(1), lambda total: ticks.append(total)
    )
    return result, ticks


@pytest.mark.parametrize("name", RUNS)
def test_a_clip_has_the_probabilities_of_predict(run, network_of, outputs, clip, name):
    result, _ = looked(network_of, clip, name)
    predicted = run("predict", str(outputs / "mine" / name / "split1-seed0"), f"source={clip}", "format=json", *CPU)
    assert predicted.status == 0, predicted.err
    [found] = json.loads(predicted.out)
    shown = view(result, -1)
    assert shown["top"] == [(each["action"], pytest.approx(each["probability"], abs=1e-6)) for each in found["top"]]
    assert shown["action"] == found["action"]
    assert result.parts == []  # too short for two windows


def test_a_longer_clip_has_the_segments_of_predict_too(run, network_of, outputs, long_clip):
    windows = ("window.seconds=1", "window.enter=0.34")
    result, ticks = looked(network_of, long_clip, "concat", *windows)
    network = str(outputs / "mine/concat/split1-seed0")
    predicted = run("predict", network, f"source={long_clip}", "format=json", "window=true", *windows, *CPU)
    [found] = json.loads(predicted.out)
    assert found["segments"]
    for mine, theirs in zip(summary(result)["segments"], found["segments"], strict=True):
        assert mine["action"] == theirs["action"]
        assert (mine["start"], mine["end"]) == pytest.approx((theirs["start"], theirs["end"]))
        assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-6)
        inside = summary(result)["cells"][mine["part"]]
        assert inside["action"] == mine["action"]
        assert inside["colour"] == mine["colour"]
    assert result.whole
    assert result.first == -1
    assert ticks[0] == 200  # 100 frames for the whole, and 100 for the windows
    assert len(ticks) - 1 <= 200


def test_a_video_longer_than_a_clip_has_windows_only(network_of, long_clip):
    result, _ = looked(network_of, long_clip, "frame", "window.clip_seconds=1", "window.seconds=1", "window.hop=0.5")
    assert result.whole is None
    cells = summary(result)["cells"]
    assert [cells[0]["start"], cells[-1]["end"]] == pytest.approx([0, 4])
    assert [each["end"] for each in cells[:-1]] == [each["start"] for each in cells[1:]]
    best = max(range(len(cells)), key=lambda number: cells[number]["height"])
    assert summary(result)["first"] == best
    with pytest.raises(IndexError):
        view(result, -1)


def test_a_video_that_is_too_long_is_refused(network_of, long_clip):
    _, message = attempt(looked, network_of, long_clip, "frame", "max_seconds=3")
    assert message == "the video is longer than 3 seconds; cut it"


@pytest.mark.parametrize("name", ["concat", "conv"])
def test_each_stream_answers_by_its_own_head(network_of, clip, name):
    loaded, _ = network_of(name)
    batch = batch_of(loaded.module, 3)
    with heard(loaded) as streams:
        fused = loaded.network(batch)
    with torch.inference_mode():
        wanted = {name: stream(batch[name]) for name, stream in loaded.module.streams.items()}
    assert list(streams) == ["frame", "flow"]
    for stream, logits in wanted.items():
        torch.testing.assert_close(streams[stream], logits)
    with heard(loaded) as again:
        torch.testing.assert_close(loaded.network(batch), fused)
    streams.clear()
    loaded.network(batch)
    assert not streams  # the hooks are gone
    assert again


def test_the_answers_of_streams_are_those_of_their_windows(network_of, long_clip):
    result, _ = looked(network_of, long_clip, "concat", "window.seconds=1", "window.smooth=0", "batch_size=3")
    loaded = result.loaded
    for part in result.parts:
        batch = {name: each[None] for name, each in part.seen.inputs.items()}
        with torch.inference_mode():
            for name, stream in loaded.module.streams.items():
                np.testing.assert_allclose(part.answers[name], stream(batch[name]).softmax(1)[0], atol=1e-5)
            np.testing.assert_allclose(part.answers[FUSION], loaded.network(batch).softmax(1)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "cards"),
    [
        ("frame", {"frame": {"looked"}}),
        ("flow", {"flow": {"input", "looked"}}),
        ("concat", {"frame": {"looked", "top"}, "flow": {"input", "looked", "top"}}),
        ("gated", {"flow": {"input", "looked"}}),
    ],
)
def test_a_part_shows_the_middle_frame_and_each_stream(network_of, long_clip, name, cards):
    result, _ = looked(network_of, long_clip, name, "window.seconds=1")
    for number in (-1, 0, len(result.parts) - 1):
        shown = json.loads(json.dumps(view(result, number)))
        assert {each["name"]: each.keys() - {"name"} for each in shown["streams"]} == cards
        assert decoded(shown["frame"]).shape == (48, 64, 3)
        for each in shown["streams"]:
            assert all(decoded(each[key]).shape == (32, 32, 3) for key in ("input", "looked") if key in each)
        assert sum(probability for _, probability in shown["top"]) == pytest.approx(1)
        assert shown["of"] == shown["top"][0][0]
    with pytest.raises(IndexError):
        view(result, len(result.parts))


def test_the_middle_frame_is_that_of_the_window(network_of, long_clip):
    result, _ = looked(network_of, long_clip, "frame", "window.seconds=1", "window.hop=1")
    capture = cv2.VideoCapture(str(long_clip))
    frames = [capture.read()[1] for _ in range(100)]
    for number in range(4):
        shown = decoded(view(result, number)["frame"]).astype(int)
        differences = [np.abs(shown - frame).mean() for frame in frames]
        assert abs(int(np.argmin(differences)) - (25 * number + 12)) <= 1


def test_the_crop_in_the_middle_of_ten_is_shown(network_of, clip):
    result, _ = looked(network_of, clip, "frame", "views.crops=10")
    crops = [sample.inputs["frame"] for sample in result.loaded.reader.clip(clip, 10)]
    assert len(crops) == 10
    assert [number for number, each in enumerate(crops) if each.equal(result.whole.seen.inputs["frame"])] == [4]


def test_an_image_is_shown_as_a_whole(network_of, tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    result, _ = looked(network_of, path, "frame")
    assert summary(result)["cells"] == []
    assert decoded(view(result, -1)["frame"]).shape == (40, 60, 3)
    _, message = attempt(looked, network_of, path, "flow")
    assert "needs a video" in message


def test_what_is_below_the_threshold_is_none_of_these(network_of, clip, long_clip):
    result, _ = looked(network_of, clip, "frame", "reject=0.999")
    assert view(result, -1)["action"] == NONE
    result, _ = looked(network_of, long_clip, "frame", "reject=0.999", "window.seconds=1")
    assert {each["action"] for each in summary(result)["cells"]} == {NONE}
    assert summary(result)["segments"] == []


def decoded(url: str) -> np.ndarray:
    """The picture of a data URL, BGR."""
    kind, _, code = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR)
