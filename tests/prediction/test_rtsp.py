"""A real RTSP server, of the package aio-rtsp-toolkit, that stalls, drops the connection and comes back."""

import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from actionrec.prediction import live
from actionrec.prediction.live import Begun, Complete, Ended, Watch
from actionrec.prediction.pipeline import Windowing
from actionrec.storage.cameras import connect
from actionrec.system.errors import ActionRecError
from tests.prediction.test_live import watcher_of

pytestmark = pytest.mark.ci
pytest.importorskip("aio_rtsp_toolkit", reason="aio-rtsp-toolkit[server] is not installed")

SECONDS, LIMIT = 12, 1.0  # of the film, and without an answer

# Each in a process of its own: PyAV has an FFmpeg of its own beside OpenCV's, and a server is to be killed.
ENCODE = """
import sys
import av
import numpy as np
path, level, seconds = sys.argv[1], *map(int, sys.argv[2:])
with av.open(path, "w") as film:
    stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency", "g": "5"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for _ in range(25 * seconds):
        film.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")))
    film.mux(stream.encode())
"""
SERVE = """
import asyncio, sys
from aio_rtsp_toolkit.server import serve
asyncio.run(serve(sys.argv[1], "127.0.0.1", int(sys.argv[2])))
"""


def encode(path, level):
    subprocess.run([sys.executable, "-c", ENCODE, str(path), str(level), str(SECONDS)], check=True, timeout=60)


@contextmanager
def serving(folder, port):
    """A server of the films in a folder; yields its process when it accepts connections."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder), str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                with pytest.raises(subprocess.TimeoutExpired):  # it is still running
                    process.wait(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_stalls_drops_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(live, "LONGEST_WAIT", 0.2)
    port, film = free_port(), tmp_path / "film.mp4"
    encode(film, 40)
    watcher = watcher_of(windowing=Windowing(seconds=0.2, hop=0.1))
    found, happened = [], []
    with serving(tmp_path, port) as first:
        source = Watch(f"rtsp://127.0.0.1:{port}/film.mp4", watcher.reader, watcher.windowing, LIMIT, 200)
        with source:
            for event in source.events():
                happened.append(type(event))
                found += watcher.take(event)
                if isinstance(event, Complete) and happened.count(Complete) == 3:
                    first.send_signal(signal.SIGSTOP)  # the connection stays, and is silent
                if isinstance(event, Ended):
                    break
            first.kill()
            encode(film, 200)
            with serving(tmp_path, port):
                for event in source.events():
                    happened.append(type(event))
                    found += watcher.take(event)
                    if happened.count(Begun) == 2 and happened[-3:] == [Complete] * 3:
                        break
    found += watcher.finish()
    assert source.reconnections == 1
    assert happened.count(Ended) == 1
    assert [each.label for each in found] == [0, 1]  # dark, and bright
    assert found[1].start > found[0].end + LIMIT / 2


def test_a_server_without_that_film_is_one_line(tmp_path):
    port = free_port()
    with serving(tmp_path, port), pytest.raises(ActionRecError, match="no stream answers with frames"):
        connect(f"rtsp://127.0.0.1:{port}/gone.mp4", LIMIT)
