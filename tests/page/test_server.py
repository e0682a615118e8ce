"""The page's server: its answers, and the clients that get them."""

import http.client
import json
import socket
import threading
import time

import pytest

from actionrec.page import server
from actionrec.page.jobs import QUEUED
from tests.conftest import attempt, noise_video
from tests.page.servers import ask, predict, served

RUN = "mine/concat/split1-seed0"


@pytest.fixture
def uploads(tmp_path):
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


@pytest.fixture
def port(app_config, uploads):
    with served(app_config("max_megabytes=1", "max_seconds=5", "window.seconds=1"), uploads) as found:
        yield found


def test_the_page_and_its_files_are_the_only_ones(port):
    assert "<title>" in ask(port, "/").text
    assert "javascript" in ask(port, "/page.js").headers["content-type"]
    assert "text/css" in ask(port, "/page.css").headers["content-type"]
    for path in (
        "/page.html",
        "/static/page.js",
        "/../page.js",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/results/a/../b",
    ):
        assert ask(port, path).status == 404


def test_runs_and_limits_are_told(port, outputs):
    told = json.loads(ask(port, "/settings").text)
    assert RUN in [each["key"] for each in told["runs"]]
    assert told["newest"] in [each["key"] for each in told["runs"]]
    assert (told["max_megabytes"], told["max_seconds"]) == (1, 5)
    assert str(outputs) not in ask(port, "/settings").text


def test_a_clip_is_predicted_and_deleted(port, uploads, clip):
    status, found = predict(port, clip.read_bytes(), run=RUN, name="../my clip.avi")
    assert status == 200
    assert found["name"] == "my clip.avi"
    assert found["view"]["action"] == found["view"]["top"][0][0]
    assert [each["name"] for each in found["view"]["streams"]] == ["frame", "flow"]
    assert list(uploads.iterdir()) == []


def test_another_window_of_a_result_is_shown(port, long_clip):
    _, found = predict(port, long_clip.read_bytes(), run=RUN)
    shown = json.loads(ask(port, f"/results/{found['result']}/2").text)
    assert shown["part"] == 2
    assert (shown["start"], shown["end"]) == (found["cells"][2]["start"], found["cells"][2]["end"])
    assert json.loads(ask(port, f"/results/{found['result']}/whole").text) == found["view"]
    for part in ("-1", "99", "1e9", "9" * 99, "%C2%B2"):
        assert ask(port, f"/results/{found['result']}/{part}").status == 400
    assert "send the clip again" in ask(port, "/results/unknown/0").text


BROKEN = {
    "text": (b"no video", "this is neither a video nor an image"),
    "empty": (b"", "the file is empty"),
    "cut": (b"\x00\x00\x00\x20ftypisom" + bytes(500), "cannot decode the video my.mp4"),
    "address": (b"http://127.0.0.1:1/a.mp4", "this is neither"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_video_is_refused_in_one_line(port, uploads, content, message):
    _, found = predict(port, content, run=RUN, name="my.mp4")
    assert message in found["error"]
    assert "\n" not in found["error"]
    assert str(uploads) not in found["error"]
    assert list(uploads.iterdir()) == []


def test_limits_hold(port, uploads, tmp_path):
    long = noise_video(tmp_path / "long.avi", 130)
    assert predict(port, long.read_bytes(), run=RUN)[1]["error"] == "the video is longer than 5 seconds; cut it"
    large = ask(port, f"/predict?run={RUN}", b"", {"Content-Length": "1000001"})
    assert (large.status, "larger than 1 MB" in large.text) == (400, True)
    short = noise_video(tmp_path / "short.avi", 2)
    assert "is too short" in predict(port, short.read_bytes(), run=RUN, name="short.avi")[1]["error"]
    assert list(uploads.iterdir()) == []


@pytest.mark.parametrize(
    "run", ["", "mine", "../mine/concat/split1-seed0", "/etc", "mine/concat", "mine/none/split1-seed0"]
)
def test_only_the_runs_that_were_found_predict(port, clip, run):
    status, found = predict(port, clip.read_bytes(), run=run)
    assert (status, found["error"]) == (400, "there is no such network any more; reload the page")


def test_an_example_is_named_by_its_number_alone(port):
    for example in ("0", "-1", "/etc/passwd", "http://127.0.0.1/"):  # the run has no data, so it has no examples
        assert predict(port, b"", run=RUN, example=example)[0] == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org"},
        {"Host": "example.org:80"},
        {"Host": ""},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_cannot_use_the_server(port, clip, headers):
    assert ask(port, f"/predict?run={RUN}", clip.read_bytes(), headers).status == 403
    assert ask(port, "/settings", headers=headers).status == 403


def test_the_own_page_can_and_a_link_leads_to_it(port):
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
    assert ask(port, "/settings", headers=own).status == 200
    assert ask(port, "/settings", headers={"Host": f"localhost:{port}"}).status == 200
    linked = ask(port, "/", headers={"Sec-Fetch-Site": "cross-site"})
    assert linked.status == 200
    assert "frame-ancestors 'none'" in linked.headers["content-security-policy"]


def test_elsewhere_than_on_this_machine_any_name_of_it_is_fine(app_config, uploads):
    with served(app_config("host=0.0.0.0"), uploads) as port:
        assert ask(port, "/settings", headers={"Host": "example.org"}).status == 200
        assert ask(port, "/settings", headers={"Origin": "http://example.org"}).status == 403


def test_two_users_at_once_get_their_own_answers(port, clip, long_clip):
    alone = {path: predict(port, path.read_bytes(), run=RUN)[1]["view"]["top"] for path in (clip, long_clip)}
    assert alone[clip] != alone[long_clip]
    found = {}

    def user(number, path, run):
        found[number] = predict(port, path.read_bytes(), run=run, name=path.name)[1]

    asked = [(clip, RUN), (long_clip, RUN), (clip, "mine/flow/split1-seed0"), (long_clip, RUN)]
    threads = [threading.Thread(target=user, args=(number, *each)) for number, each in enumerate(asked)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (path, run) in enumerate(asked):
        assert found[number]["name"] == path.name
        if run == RUN:
            assert found[number]["view"]["top"] == [[action, pytest.approx(p)] for action, p in alone[path]]
        else:
            assert [each["name"] for each in found[number]["view"]["streams"]] == ["flow"]


@pytest.fixture
def blocked(monkeypatch):
    """Predictions wait until the event is set; gives it, and the list of those that have begun."""
    release, begun = threading.Event(), []

    def look(path, loaded, lock, config, tick, begin):
        begun.append(path)
        while not release.wait(0.01):
            tick()
        raise server.ActionRecError(f"{path} is done")

    monkeypatch.setattr(server, "look", look)
    yield release, begun
    release.set()


def test_a_user_who_leaves_is_not_waited_for(port, uploads, clip, blocked):
    _, begun = blocked
    first = started(port, clip.read_bytes())
    wait_for(lambda: begun)
    second = started(port, clip.read_bytes())
    wait_for(lambda: len(list(uploads.iterdir())) == 2)
    second.close()
    time.sleep(0.5)  # the server notices it at its next report
    first.close()
    wait_for(lambda: not list(uploads.iterdir()))
    assert len(begun) == 1  # the second one never computed


def test_the_queue_is_told_and_has_an_end(port, clip, blocked):
    release, begun = blocked
    first = started(port, clip.read_bytes())
    wait_for(lambda: begun)
    waiting = [started(port, clip.read_bytes()) for _ in range(QUEUED)]
    wait_for(lambda: "too many clips" in predict(port, clip.read_bytes(), run=RUN)[1].get("error", ""))
    release.set()
    answers = [read(each) for each in (first, *waiting)]
    assert all(b"the file is done" in each for each in answers)
    assert b'"ahead": 0' in answers[0]
    assert [b'"ahead": %d' % QUEUED in each for each in answers].count(True) == 1
    assert len(begun) == QUEUED + 1


def started(port, body):
    """A connection that has sent a clip and does not wait for the answer."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST /predict?run={RUN} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def read(connection):
    """The whole answer, which is in chunks."""
    with connection, connection.makefile("rb") as file:
        found = b""
        while not found.endswith(b"\r\n0\r\n\r\n"):
            found += file.readline()
        return found


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_defect_is_no_secret_but_for_the_browser(port, clip, monkeypatch, caplog):
    def look(*arguments):
        raise ZeroDivisionError("in /secret/place")

    monkeypatch.setattr(server, "look", look)
    _, found = predict(port, clip.read_bytes(), run=RUN)
    assert found["error"] == "the prediction failed; the terminal of actionrec app says why"
    assert "in /secret/place" in caplog.text


def test_a_port_in_use_is_one_line():
    with server.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        message = attempt(server.listen, "127.0.0.1", port)[1]
        assert (
            message == f"host=127.0.0.1 port={port}: address already in use; choose another port, or 0 for a free one"
        )
        assert server.address_of(taken) == f"http://127.0.0.1:{port}"
    assert "host=192.0.2.1" in attempt(server.listen, "192.0.2.1", 0)[1]
    assert "host=no such host" in attempt(server.listen, "no such host", 0)[1]


def test_requests_that_are_no_http_end(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01\x00\n\r\n\r\n")
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b""))
    with pytest.raises((http.client.HTTPException, AssertionError)):
        assert ask(port, "/predict", b"", method="PUT").status == 200
