"""Samples from videos: each frame decoded once, each field estimated once, and a bounded number of frames held."""

import gc
import weakref

import cv2
import numpy as np
import pytest
import torch

from actionrec.flow import estimators
from actionrec.prediction import feeds, reading, windows
from actionrec.prediction.reading import Length, Sample, measure
from actionrec.storage.video import Grabbed
from tests.conftest import attempt, noise_video, write_video
from tests.prediction.conftest import FLOW, FRAME, pictures, reader_of
from tests.storage import mp4

DIFFERENCE = {"_target_": "actionrec.streams.RGBDifference", "length": 2}
STREAMS = {"frame": FRAME, "flow": FLOW, "rgb_difference": DIFFERENCE}


def test_the_length_is_that_of_the_timestamps(tmp_path):
    assert measure(noise_video(tmp_path / "a.avi", 6), 1.0) == Length(6, pytest.approx(6 / 25))
    path = mp4.write(tmp_path / "a.mp4", pictures(6))
    mp4.change(path, b"stts", mp4.durations((3, 1), (3, 4)))
    assert measure(path, 1.0) == Length(6, pytest.approx(0.60))


def test_a_long_video_is_not_measured_to_its_end(tmp_path, monkeypatch):
    path = noise_video(tmp_path / "a.avi", 40)
    assert measure(path, 1.0) is None
    monkeypatch.setattr(reading, "iter_grabbed", lambda path: pytest.fail("decoded"))
    assert measure(path, 0.5) is None  # the container announces 1.6 seconds


@pytest.mark.parametrize(("height", "width"), [(48, 64), (51, 67), (17, 16)])
def test_pictures_of_any_size_are_read(tmp_path, height, width):
    path = write_video(tmp_path / "a.avi", pictures(8, height, width))
    [sample] = reader_of(**STREAMS).clip(path, 8)
    assert {name: tuple(each.shape) for name, each in sample.inputs.items()} == {
        "frame": (3, 32, 32),
        "flow": (4, 32, 32),
        "rgb_difference": (6, 32, 32),
    }


def test_a_gray_video_is_read(tmp_path):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48), False)
    for frame in pictures(5):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    writer.release()
    [sample] = reader_of(**STREAMS).clip(path, 5)
    red, green, blue = sample.inputs["frame"].float()
    assert (red - green).abs().max() <= 2
    assert (red - blue).abs().max() <= 2


def test_a_short_video_says_how_long_it_has_to_be(tmp_path):
    path = noise_video(tmp_path / "a.avi", 2)
    _, message = attempt(lambda: list(reader_of(flow=FLOW).clip(path, 2)))
    assert "a.avi is too short" in message
    assert "at least 3 frames" in message


def windows_of(reader, path, seconds, hop):
    *samples, length = reader.windows(path, seconds, hop)
    assert all(isinstance(each, Sample) for each in samples)
    return samples, length


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("n_frames", [12, 13])
def test_a_window_over_the_whole_video_has_the_samples_of_the_clip(tmp_path, segments, n_frames):
    path = noise_video(tmp_path / "a.avi", n_frames)
    reader = reader_of(segments, crops=3, **STREAMS)
    clip = list(reader.clip(path, n_frames))
    samples, length = windows_of(reader, path, n_frames / 25, 1.0)
    assert length.frames == n_frames
    assert [each.window for each in samples] == [0] * segments * 3
    for one, other in zip(samples, clip, strict=True):
        for name in STREAMS:
            assert torch.equal(one.inputs[name], other.inputs[name])


def test_windows_are_cut_by_time_whatever_the_rate(tmp_path, monkeypatch):
    """Frames show their number as their gray. The rate falls from 10 to 2 frames a second after the first second."""
    times = [n / 10 for n in range(10)] + [1 + n / 2 for n in range(5)]
    shown = [Grabbed(time, lambda gray=10 * n: np.full((32, 32, 3), gray, np.uint8)) for n, time in enumerate(times)]
    monkeypatch.setattr(reading, "iter_grabbed", lambda path: iter(shown))
    monkeypatch.setattr(reading, "_rate", lambda path: 10.0)
    samples, length = windows_of(reader_of(), "a.mp4", 1.0, 0.5)
    assert length == Length(15, 3.5)
    grays = [round(float(each.inputs["frame"].float().mean()) / 10) for each in samples]
    # Windows start at 0, 0.5, 1 …, and their middles are at 0.5, 1, 1.5, 2, 2.5 and 3.
    assert grays == [5, 10, 11, 12, 13, 14]
    assert [each.window for each in samples] == list(range(6))
    assert windows.count(length.duration, 1.0, 0.5) == 6


def test_frames_are_decoded_once_and_fields_estimated_once_and_only_if_needed(tmp_path, monkeypatch):
    path = noise_video(tmp_path / "a.avi", 50)
    pairs, ticks = [], []

    def counted(algorithm, params):
        estimator = estimators.create(algorithm, params)

        def fields(frames):
            pairs.append((frames[0].tobytes(), frames[1].tobytes()))
            return estimator.fields(frames)

        return estimator._replace(fields=fields)

    monkeypatch.setattr(feeds, "create", counted)
    reader = reader_of(3, **STREAMS)
    list(reader.windows(path, 0.4, 0.2, lambda: ticks.append(1)))
    assert len(ticks) == 50
    assert len(pairs) == len(set(pairs)) <= 49
    pairs.clear()
    list(reader.windows(path, 1.0, 1.0))
    assert len(pairs) == 2 * 3 * 2  # windows, instants, fields of a stack


def test_the_number_of_frames_in_memory_does_not_grow(tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), []

    class Watched(feeds.Decoded):
        def __init__(self, bgr):
            super().__init__(bgr)
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(reading, "Decoded", Watched)
    reader = reader_of(**STREAMS)
    gc.disable()  # frames go when they are dropped, without the search for reference cycles
    try:
        list(reader.windows(noise_video(tmp_path / "a.avi", 100), 1.0, 0.2))
    finally:
        gc.enable()
    assert len(most) == 100
    assert max(most) == max(most[:20]) <= 10
    assert len(reader.feeds["flow"]._fields) <= 10


@pytest.mark.parametrize("algorithm", ["imported", "os.system", "subprocess.run"])
def test_flow_that_cannot_or_must_not_be_computed_is_refused(algorithm):
    """A checkpoint may come from a stranger, and names the estimator of its flow."""
    reader, message = attempt(lambda: reader_of(flow={**FLOW, "algorithm": algorithm, "params": {}}))
    assert reader is None
    assert ("imported" if algorithm == "imported" else "trust=") in message


def test_parameters_of_an_estimator_are_checked():
    params = {"warps": 10**9}
    _, message = attempt(lambda: reader_of(flow={**FLOW, "algorithm": "tvl1", "params": params}))
    assert "flow.params.warps=1000000000" in message
