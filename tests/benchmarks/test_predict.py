import sys

import pytest
import torch

from actionrec.datasets.records import Clip
from actionrec.prediction import feeds
from actionrec.prediction.reading import Reader
from actionrec.storage.video import count_frames, probe
from benchmarks import predict
from tests.conftest import attempt, noise_video
from tests.prediction.conftest import FLOW, FRAME


@pytest.fixture
def video(tmp_path):
    clips = [Clip(noise_video(tmp_path / "wave" / f"{seed}.avi", 20, seed), "wave", "") for seed in range(2)]
    return predict.joined(clips, tmp_path / "long.mp4", minutes=4 / 60)


def test_the_video_has_the_length_and_the_size_that_are_measured(video):
    assert count_frames(video) == 100
    assert probe(video)[1:] == (240, 320, 25.0)


def test_flow_alone_estimates_the_fields_that_the_whole_needs(video, monkeypatch):
    """Otherwise the limit that the whole is held against would be of other work."""
    seen = []

    def counted(algorithm, params):
        def fields(frames):
            seen.append(frames[0].tobytes())
            return created.fields(frames)

        created = create(algorithm, params)
        return created._replace(fields=fields)

    create = feeds.create
    monkeypatch.setattr(feeds, "create", counted)
    reader = Reader({"size": 32, "position": "middle", "streams": {"frame": FRAME, "flow": FLOW}}, 1, 1)
    parts = predict.parts_of(video, reader, lambda batch: torch.zeros(len(batch["frame"]), 2))
    assert set(parts) == {"decode", "flow", "network", "whole"}
    found = {}
    for part, work in parts.items():
        seen.clear()
        work()
        found[part] = sorted(seen)
    assert found["flow"] == found["whole"] != []
    assert found["decode"] == found["network"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_the_peak_is_that_of_the_command_alone():
    here = bytearray(400_000_000)  # of this process, which the command does not have
    here[::4096] = bytes([1]) * len(here[::4096])
    command = "import time; large = bytearray(b'1') * 150_000_000; del large; time.sleep(0.3)"
    assert 150 < predict.peak([sys.executable, "-c", command]) < 250


def test_a_command_that_fails_has_no_peak():
    assert "-c raise failed" in attempt(predict.peak, [sys.executable, "-x", "-c", "raise"])[1]


def test_the_checkpoint_predicts(run, tmp_path, video):
    network = predict.checkpoint(tmp_path / "random.ckpt", predict.inputs_of("rgb_difference"))
    outcome = run("predict", str(network), f"source={video}", "window=true", "accelerator=cpu", "format=json")
    assert outcome.status == 0, outcome.err
    assert "segments" in outcome.out
