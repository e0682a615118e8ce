"""Batches over files, failures among them, and reading in a thread."""

import threading
import time

import pytest
import torch

from actionrec.prediction import pipeline, reading
from actionrec.prediction.pipeline import Failed, Scored, Windowing, ahead
from actionrec.prediction.reading import Length
from tests.conftest import noise_video, raise_error, write_video
from tests.prediction.conftest import FLOW, pictures, reader_of

AUTO = Windowing()


def brightness(batch):
    """A network whose first logit is the mean of the frame."""
    mean = batch["frame"].float().mean(dim=(1, 2, 3))
    return torch.stack([mean, torch.zeros_like(mean)], dim=1)


def predicted(paths, windowing=AUTO, batch_size=4, network=brightness):
    return list(pipeline.predict(paths, reader_of(), network, windowing, batch_size))


@pytest.fixture
def clips(tmp_path):
    return [noise_video(tmp_path / f"{seed}.avi", 6 + seed, seed) for seed in range(5)]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batches_hold_samples_of_several_files(clips, batch_size):
    sizes = []

    def network(batch):
        sizes.append(len(batch["frame"]))
        return brightness(batch)

    found = predicted(clips, batch_size=batch_size, network=network)
    assert [each.path for each in found] == clips
    assert max(sizes) == min(batch_size, 5)
    alone = [predicted([clip])[0].logits for clip in clips]
    torch.testing.assert_close(torch.cat([each.logits for each in found]), torch.cat(alone))
    assert len({round(float(each[0, 0]), 3) for each in alone}) == 5


def test_a_file_that_fails_does_not_stop_the_others(clips, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    broken = [tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "gone.mp4"]
    found = predicted([clips[0], *broken, clips[1]])
    assert [type(each) for each in found] == [Scored, Failed, Failed, Failed, Scored]
    for failed, path in zip(found[1:4], broken, strict=True):
        assert path.name in failed.reason
        assert "\n" not in failed.reason


def test_every_failure_names_its_file(tmp_path):
    """OpenCV's reason names no file: its DIS flow takes no side below 12 pixels."""
    path = write_video(tmp_path / "narrow.avi", pictures(6, height=8, width=64))
    [failed] = pipeline.predict([path], reader_of(flow=FLOW), brightness, AUTO, 4)
    assert failed.reason.startswith(f"{path}: dis fails on the frames")


def test_a_defect_of_ours_is_no_failure_of_a_file(clips, monkeypatch):
    monkeypatch.setattr(reading, "frame_index", raise_error(KeyError("odd")))
    with pytest.raises(KeyError):
        predicted(clips)


def test_long_videos_are_cut_and_short_ones_are_not(tmp_path):
    short, long = noise_video(tmp_path / "a.avi", 20), noise_video(tmp_path / "b.avi", 60)
    windowing = Windowing(seconds=1.0, hop=0.5, clip_seconds=1.0)
    found = predicted([short, long], windowing)
    assert [(len(each.logits), each.windowed) for each in found] == [(1, False), (3, True)]
    assert found[1].length == Length(60, pytest.approx(2.4))
    [whole] = predicted([long], windowing._replace(use=False))
    assert (len(whole.logits), whole.windowed) == (1, False)
    [one] = predicted([short], windowing._replace(use=True))
    assert (len(one.logits), one.windowed) == (1, True)
    torch.testing.assert_close(one.logits, found[0].logits)


def test_a_container_that_promises_far_more_than_there_is_says_so(tmp_path, monkeypatch):
    path = noise_video(tmp_path / "a.avi", 10)
    monkeypatch.setattr(pipeline, "measure", lambda path, longest: None)
    [failed] = predicted([path])
    assert "far less than it announces" in failed.reason


def test_images_are_predicted_by_networks_of_frames_only(tmp_path, demo_root):
    image = next((demo_root / "Stanford40" / "JPEGImages").glob("*.jpg"))
    [found] = predicted([image])
    assert (found.length, found.windowed, found.logits.shape) == (None, False, (1, 2))
    streams = {"rgb_difference": {"_target_": "actionrec.streams.RGBDifference"}}
    [failed] = list(pipeline.predict([image], reader_of(**streams), brightness, Windowing(), 1))
    assert "needs a video" in failed.reason


def test_a_thread_reads_ahead_but_not_far():
    taken = []
    items = ahead((taken.append(number) or number for number in range(100)), 2)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(taken) < 4 and time.monotonic() < deadline:  # one given, two in the queue, one in the thread's hand
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(taken) == 4
    assert list(items) == list(range(1, 100))


def test_an_error_of_the_thread_is_raised_in_its_place():
    def items():
        yield 1
        raise OSError("odd")

    found = ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(OSError, match="odd"):
        next(found)


def test_closing_ends_the_thread():
    before = threading.active_count()
    items = ahead(iter(int, 1), 2)  # without end
    next(items)
    items.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interruption_leaves_the_windows_that_are_done(tmp_path, interruption):
    short, long = noise_video(tmp_path / "a.avi", 10), noise_video(tmp_path / "b.avi", 100)
    windowing, batches = Windowing(seconds=0.5, hop=0.2, clip_seconds=1.0), []

    def network(batch):
        batches.append(len(batch["frame"]))
        if len(batches) == 4:
            raise interruption
        return brightness(batch)

    items = pipeline.predict([short, long], reader_of(segments=2), network, windowing, 3)
    whole, part = next(items), next(items)
    with pytest.raises(type(interruption)):
        next(items)
    assert (whole.path, whole.windowed) == (short, False)
    # Nine samples are done: two of the clip, and seven of windows, of which three have both instants.
    assert (part.path, part.windowed, len(part.logits)) == (long, True, 3)
    assert part.length.duration == pytest.approx(2 * 0.2 + 0.5)
    [complete] = predicted([long], windowing)
    assert complete.length.duration == pytest.approx(4.0)


def test_an_interruption_before_a_window_is_done_leaves_nothing(clips):
    items = pipeline.predict(clips, reader_of(), raise_error(KeyboardInterrupt()), AUTO, 4)
    with pytest.raises(KeyboardInterrupt):
        next(items)
