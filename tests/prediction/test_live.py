"""Cameras and network streams: windows in time, reconnections, and a clean end."""

import json
import threading
import time

import cv2
import numpy as np
import pytest
import torch

from actionrec.prediction import live
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.live import Begun, Complete, Ended, Watch
from actionrec.prediction.output import Segmentation
from actionrec.prediction.pipeline import Windowing
from actionrec.prediction.watch import Watcher, watch
from actionrec.storage.cameras import Stream, connect, is_address
from actionrec.storage.video import Grabbed, iter_grabbed
from actionrec.system.errors import ActionRecError
from tests.conftest import attempt, noise_video, raise_error
from tests.prediction.conftest import FLOW, reader_of
from tests.prediction.servers import MJPEG, jpeg, serving

CPU = ("accelerator=cpu", "precision=32-true")
WINDOWING = Windowing(seconds=0.4, hop=0.2)
SEGMENTATION = Segmentation(smooth=0.0, enter=0.5, leave=0.5, least=0.0)
LEVELS = 100  # gray of frame n is LEVELS + n


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(live, "FIRST_WAIT", 0.01)


@pytest.mark.parametrize("source", ["0", "12", "rtsp://host/live", "RTSPS://host", "http://host/a.mp4", "https://host"])
def test_addresses(source):
    assert is_address(source)


@pytest.mark.parametrize("source", ["a.mp4", "./0", "-1", "videos", "file:///a.mp4", "ftp://host/a.mp4"])
def test_files_are_no_addresses(source):
    assert not is_address(source)


def stream_of(levels, rate=25.0, whole=False, pause=lambda number: None):
    """A stream of gray frames; `pause` is called before each frame."""

    def frames():
        for number, level in enumerate(levels):
            pause(number)
            yield Grabbed(number / rate, lambda level=level: np.full((48, 64, 3), level, np.uint8))

    return Stream(rate, whole, frames())


def opening(*streams):
    """A function that opens one stream after the other; None stands for a failure."""
    waiting = list(streams)

    def open_stream(address, timeout):
        stream = waiting.pop(0) if waiting else None
        if stream is None:
            raise ActionRecError("gone")
        return stream

    return open_stream


def watched(*streams, reconnect=2, reader=None, windowing=WINDOWING, slow=lambda: None):
    source = Watch("camera", reader or reader_of(), windowing, 1.0, reconnect, opening(*streams))
    events = []
    with source:
        for event in source.events():
            events.append(event)
            slow()
    return source, events


def test_a_whole_video_loses_no_window_however_late_the_network_is():
    source, events = watched(stream_of(range(100, 150), whole=True), slow=lambda: time.sleep(0.01))
    assert isinstance(events[0], Begun)
    assert isinstance(events[-1], Ended)
    assert [event.window for event in events[1:-1]] == list(range(9))  # of 2 seconds
    assert (source.dropped, source.reconnections) == (0, 0)


def test_a_late_network_gets_the_newest_window_and_whole_windows_are_left_out():
    taken = threading.Event()

    def pause(number):  # the network is busy with its first window until the stream is nearly over
        if number == 60:
            taken.wait(5)

    source = Watch("camera", reader_of(flow=FLOW), WINDOWING, 1.0, 0, opening(stream_of(range(100, 175), pause=pause)))
    with source:
        events = source.events()
        found = [next(events), next(events)]
        deadline = time.monotonic() + 5
        while source.seconds < 59 / 25 and time.monotonic() < deadline:
            time.sleep(0.001)
        taken.set()
        found += list(events)
    numbers = [event.window for event in found if isinstance(event, Complete)]
    assert numbers == sorted(numbers)
    assert numbers[-1] >= 12
    assert source.dropped > 5
    assert len(numbers) + source.dropped == numbers[-1] + 1
    for event in found:
        for job in event.jobs if isinstance(event, Complete) else ():
            assert list(np.diff(job.needed)) == [1, 1]  # a stack has all of its frames
            shown = [int(job.held[index].bgr.mean()) for index in job.needed]
            assert shown == [LEVELS + index for index in job.needed]


def test_only_the_frames_of_waiting_windows_are_kept():
    _, events = watched(stream_of(range(100, 200), whole=True), reader=reader_of(3, flow=FLOW))
    assert {len(job.held) for event in events if isinstance(event, Complete) for job in event.jobs} == {3}


def test_windows_begin_anew_after_a_reconnection(monkeypatch):
    now = iter([0.0, 10.0])
    monkeypatch.setattr(live, "clock", lambda: next(now, 11.0))
    first, second = stream_of(range(100, 120)), stream_of(range(150, 170))
    source, events = watched(first, None, second, reconnect=2, slow=lambda: None)
    begun = [event.offset for event in events if isinstance(event, Begun)]
    assert begun == [0.0, 10.0]
    assert source.reconnections == 1
    assert [event.length.frames for event in events if isinstance(event, Ended)] == [20, 20]
    last = [event for event in events if isinstance(event, Complete)][-1]
    assert all(frame.bgr.mean() >= 150 for job in last.jobs for frame in job.held.values())


def test_attempts_are_counted_from_the_last_frame_on():
    short = [stream_of(range(100, 112)) for _ in range(4)]
    source, _ = watched(short[0], None, short[1], None, short[2], None, None, short[3], reconnect=2)
    assert source.reconnections == 2  # after the third stream both attempts fail


def test_a_source_that_is_not_there_is_an_error_at_once():
    assert attempt(Watch, "camera", reader_of(), WINDOWING, 1.0, 5, opening())[1] == "gone"


def test_a_defect_of_ours_is_raised(monkeypatch):
    reader = reader_of()
    monkeypatch.setattr(reader, "jobs", raise_error(KeyError("odd")))
    with pytest.raises(KeyError):
        watched(stream_of(range(100, 110)), reader=reader)


def test_the_end_of_the_watch_ends_the_thread():
    def forever():
        number = 0
        while True:
            yield Grabbed(number / 25, lambda: np.zeros((48, 64, 3), np.uint8))
            number += 1

    before = threading.active_count()
    with Watch("camera", reader_of(), WINDOWING, 1.0, 5, opening(Stream(25.0, False, forever()))) as source:
        next(source.events())
    assert threading.active_count() == before


def brightness(batch):
    """Probability of the first action: 0.9 for dark frames, 0.1 for bright ones."""
    dark = batch["frame"].float().mean(dim=(1, 2, 3)) < 128
    return torch.stack([torch.where(dark, 0.9, 0.1), torch.where(dark, 0.1, 0.9)], dim=1).log()


def watcher_of(**settings):
    chosen = {"windowing": WINDOWING, "segmentation": SEGMENTATION, "batch_size": 2, **settings}
    return Watcher(reader_of(segments=3), brightness, Calibration(), *chosen.values())


def test_segments_are_written_when_they_end(tmp_path):
    out, seen = tmp_path / "found.jsonl", []

    def pause(number):
        deadline = time.monotonic() + 5
        while number == 48 and not seen and time.monotonic() < deadline:  # the dark half has ended at frame 25
            seen.extend(out.read_text().splitlines() if out.exists() else [])
            time.sleep(0.002)

    watcher, stream = watcher_of(), stream_of([40] * 25 + [200] * 25, whole=True, pause=pause)
    source = Watch("camera", watcher.reader, WINDOWING, 1.0, 0, opening(stream))
    watch(source, watcher, ["dark", "bright"], "json", str(out))
    [first] = [json.loads(line) for line in seen]
    assert (first["source"], first["action"], first["start"]) == ("camera", "dark", 0.0)
    assert first["end"] == pytest.approx(1.0, abs=0.21)
    last = json.loads(out.read_text().splitlines()[-1])
    assert (last["action"], last["end"]) == ("bright", pytest.approx(2.0))


def test_segments_do_not_cross_a_gap(capsys, monkeypatch):
    now = iter([0.0, 10.0])
    monkeypatch.setattr(live, "clock", lambda: next(now, 11.0))
    watcher = watcher_of()
    streams = stream_of([40] * 25), stream_of([40] * 25)
    source = Watch("camera", watcher.reader, WINDOWING, 1.0, 1, opening(*streams))
    watch(source, watcher, ["dark", "bright"], "csv", None)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "file,start,end,rank,action,probability"
    assert [row.split(",")[1:5] for row in rows] == [["0.0", "1.0", "1", "dark"], ["10.0", "11.0", "1", "dark"]]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_an_interruption_ends_with_what_was_found(tmp_path, form):
    watcher, out = watcher_of(), tmp_path / "new" / "found.txt"

    def network(batch):
        if watcher.windows == 4:
            raise KeyboardInterrupt
        return brightness(batch)

    watcher.network = network
    source = Watch("camera", watcher.reader, WINDOWING, 1.0, 0, opening(stream_of([40] * 50, whole=True)))
    watch(source, watcher, ["dark", "bright"], form, str(out))
    *_, line = out.read_text().splitlines()
    assert "dark" in line
    assert "1.0" in line  # the end of the fourth window


def test_a_stream_that_is_shorter_than_a_window_says_so():
    watcher = watcher_of()
    source = Watch("camera", watcher.reader, WINDOWING, 1.0, 0, opening(stream_of([40] * 5, whole=True)))
    assert "lower window.seconds=0.4" in attempt(watch, source, watcher, ["a", "b"], "json", None)[1]


class TestHTTP:
    def test_a_file_behind_an_address_has_the_segments_of_the_file(self, run, light_run, tmp_path):
        video = noise_video(tmp_path / "a.avi", 60)

        def respond(number, send, over):
            send(video.read_bytes())

        words = ["window.seconds=0.5", "window.hop=0.2", "window.smooth=0.6", "window.enter=0", *CPU]
        with serving("video/x-msvideo", respond) as (address, _):
            outcome = run("predict", str(light_run), f"source={address}", "format=json", *words)
        assert outcome.status == 0, outcome.err
        found = [json.loads(line) for line in outcome.out.splitlines()]
        file = run("predict", str(light_run), f"source={video}", "format=json", "window=true", *words)
        [expected] = json.loads(file.out)
        assert expected["segments"]
        assert [{key: each[key] for key in ("start", "end", "action")} for each in found] == [
            {key: each[key] for key in ("start", "end", "action")} for each in expected["segments"]
        ]

    def test_a_file_has_its_own_times(self, tmp_path):
        video = noise_video(tmp_path / "a.avi", 10)
        with serving("video/x-msvideo", lambda number, send, over: send(video.read_bytes())) as (address, _):
            stream = connect(address, 5.0)
            found = list(stream.frames)
        assert (stream.whole, stream.rate) == (True, 25.0)
        expected = list(iter_grabbed(video))
        assert [each.time for each in found] == pytest.approx([each.time for each in expected])

    def test_motion_jpeg_has_the_times_of_arrival(self):
        def respond(number, send, over):
            for level in range(6):
                send(jpeg(level * 20))
                time.sleep(0.1)

        with serving(MJPEG, respond) as (address, _):
            stream = connect(address, 5.0)
            times = [each.time for each in stream.frames]
        assert not stream.whole
        assert len(times) == 6
        assert 0.25 < times[-1] < 3.0  # FFmpeg assumes 25 frames a second, and its last timestamp is 0.2

    def test_a_stream_that_stalls_drops_and_comes_back(self):
        def respond(number, send, over):
            if number == 1:
                raise ConnectionRefusedError
            for _ in range(30):
                send(jpeg(40 if number == 0 else 200))
                time.sleep(0.01)
            if number == 0:
                over.wait(5)  # silence
            # The later connections are closed.

        with serving(MJPEG, respond) as (address, server):
            watcher = watcher_of(windowing=Windowing(seconds=0.1, hop=0.05))
            source = Watch(address, watcher.reader, watcher.windowing, 0.3, 2)
            found, begun = [], 0
            with source:
                for event in source.events():
                    begun += isinstance(event, Begun)
                    if begun == 3:
                        break
                    found += watcher.take(event)
        assert server.requests >= 4
        assert source.reconnections == 2
        assert {each.label for each in found} == {0, 1}
        dark, bright = (next(each for each in found if each.label == label) for label in (0, 1))
        assert bright.start > dark.end + 0.25  # the silence of one time-out

    def test_no_server_is_one_line(self, run, light_run):
        with serving(MJPEG, lambda number, send, over: None) as (address, _):
            pass
        outcome = run("predict", str(light_run), f"source={address}", "timeout=1", *CPU)
        assert outcome.status == 1
        *_, line = outcome.err.strip().splitlines()
        assert "no stream answers with frames" in line

    def test_a_page_is_no_stream(self):
        with serving("text/html", lambda number, send, over: send(b"<html>no video</html>")) as (address, _):
            assert "no stream answers" in attempt(connect, address, 1.0)[1]


def test_a_camera_that_is_not_there_is_one_line(monkeypatch):
    class Closed:
        def __init__(self, index):
            assert index == 7

        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Closed)
    assert "no camera answers" in attempt(connect, "7", 1.0)[1]


def test_streams_cannot_be_annotated(run, light_run):
    outcome = run("predict", str(light_run), "source=0", "annotate=a.mp4", *CPU)
    assert "needs files" in outcome.err


def test_any_number_of_attempts_is_possible(monkeypatch):
    monkeypatch.setattr(live, "LONGEST_WAIT", 0.0)
    source, events = watched(stream_of(range(100, 112)), reconnect=1100)  # 2**1100 is no float
    assert source.reconnections == 0
    assert isinstance(events[-1], Ended)
