"""The page in a browser, as a user has it: served by the command, with videos of the user's own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import write_video
from tests.prediction.conftest import pictures
from tests.reporting.browser import check_layout, launched

pytestmark = pytest.mark.ci
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SETTINGS = ("port=0", "accelerator=cpu", "precision=32-true", "window.seconds=1", "max_seconds=30", "max_megabytes=2")


@contextmanager
def serving(outputs: Path, temporary: Path, *settings: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """`actionrec app`: the process, and its address."""
    words = [sys.executable, "-m", "actionrec", "app", f"paths.outputs={outputs}", *SETTINGS, *settings]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes, env={**os.environ, "TMPDIR": str(temporary)}) as process:
        try:
            yield process, process.stdout.readline().split()[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(outputs, tmp_path_factory) -> Iterator[str]:
    with serving(outputs, tmp_path_factory.mktemp("temporary")) as (_, found):
        yield found


@pytest.fixture(scope="module")
def browser():
    with launched(*CAMERA) as found:
        yield found


@pytest.fixture
def visit(browser, address):
    """Open the page at a width in pixels, as one more user; every complaint of the browser fails the test."""
    complaints, contexts = [], []

    def opened(width: int = 1280, run: str = "mine/concat/split1-seed0") -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda sent: complaints.append(sent.url) if not own(sent.url, address) else None)
        page.goto(address)
        page.select_option("#run", run)
        return page

    yield opened
    for each in contexts:
        each.close()
    assert [each for each in complaints if "400 (Bad Request)" not in each] == []


def own(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", "data:", "blob:"))


def send(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)


def title(page: Page) -> str:
    """The answer to the clip that was sent last."""
    expect(page.locator("#result")).to_be_visible(timeout=60_000)
    return page.inner_text("#title")


@pytest.mark.parametrize("width", [1280, 400])
def test_a_clip_is_sent_and_its_answer_shown(visit, long_clip, width):
    page = visit(width)
    check_layout(page, width)
    send(page, long_clip)
    assert re.fullmatch(r"\w+ \d+(\.\d)? %", title(page))
    assert page.locator("#cards h3").all_inner_texts() == ["Fusion", "Frame", "Flow"]
    assert page.locator("#cards tr").count() == 9  # of three actions
    assert page.locator("#cards img").count() == 4
    assert page.inner_text("#subtitle") == "long.avi"
    check_layout(page, width)


def test_the_strip_shows_the_window_that_is_clicked_or_reached_by_keys(visit, long_clip):
    page = visit()
    send(page, long_clip)
    title(page)
    strip, subtitle = page.locator("#strip"), page.locator("#subtitle")
    box = strip.bounding_box()
    count = page.locator("#strip span").count()
    assert count == 7
    frame = page.get_attribute("#cards img", "src")
    strip.click(position={"x": box["width"] - 3, "y": 20})
    expect(subtitle).to_have_text("long.avi, 3.3 to 4.0 s")
    assert page.get_attribute("#cards img", "src") != frame
    assert strip.get_attribute("aria-valuenow") == str(count - 1)
    strip.press("Home")
    expect(subtitle).to_have_text("long.avi, 0.0 to 0.8 s")
    strip.press("ArrowRight")
    expect(subtitle).to_have_text("long.avi, 0.8 to 1.3 s")
    page.click("#whole")
    expect(subtitle).to_have_text("long.avi")
    assert page.get_attribute("#cards img", "src") == frame


def test_a_clip_is_dropped(visit, clip):
    page = visit(run="mine/flow/split1-seed0")
    content = list(clip.read_bytes())
    data = page.evaluate_handle(
        "bytes => { const data = new DataTransfer(); data.items.add(new File([new Uint8Array(bytes)], 'dropped.avi'));"
        " return data; }",
        content,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    title(page)
    assert page.inner_text("#subtitle") == "dropped.avi"
    assert page.locator("#cards h3").all_inner_texts() == ["Answer", "Flow"]
    expect(page.locator("#course")).to_be_hidden()


def test_a_clip_is_recorded(visit):
    page = visit()
    page.click("#record")
    expect(page.locator("#record")).to_have_text(re.compile("Stop .1 s"))
    expect(page.locator("#camera")).to_be_visible()
    page.click("#record")
    title(page)
    assert page.inner_text("#subtitle") == "the recording"
    expect(page.locator("#record")).to_have_text("Record")


def test_a_file_that_is_no_video_is_one_line_and_the_next_one_is_predicted(visit, clip, tmp_path):
    page, status = visit(), "#status"
    (tmp_path / "broken.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(4000))
    (tmp_path / "text.avi").write_text("<b>no video</b>")
    (tmp_path / "large.avi").write_bytes(b"RIFF\0\0\0\0AVI " + bytes(2_100_000))
    for name, message in {
        "broken.mp4": "Cannot decode the video broken.mp4",
        "text.avi": "This is neither a video nor an image that can be read; choose another file.",
        "large.avi": "large.avi is larger than 2 MB; cut it, or choose another one.",
    }.items():
        send(page, tmp_path / name)
        expect(page.locator(status)).to_contain_text(message, timeout=30_000)
        expect(page.locator("#result")).to_be_hidden()
    send(page, clip)
    assert title(page)
    assert page.inner_text(status) == ""


def test_two_users_at_once_see_their_own_clips(visit, tmp_path):
    users, videos = [visit(), visit(400)], []
    for seed in (2, 3):
        videos.append(write_video(tmp_path / f"{seed}.avi", pictures(300, seed=seed)))
    for page, video in zip(users, videos, strict=True):
        send(page, video)
    first = [(title(page), page.inner_text("#subtitle"), page.inner_text("#cards")) for page in users]
    assert [each[1][:5] for each in first] == ["2.avi", "3.avi"]
    for page, video, before in zip(users, videos, first, strict=True):
        send(page, video)
        expect(page.locator("#result")).to_be_hidden()
        assert (title(page), page.inner_text("#cards")) == (before[0], before[2])


def test_names_of_files_are_no_markup(visit, clip, tmp_path):
    page, name = visit(), "<img src=x onerror=alert(1)>.avi"
    (tmp_path / name).write_bytes(clip.read_bytes())
    send(page, tmp_path / name)
    title(page)
    assert page.inner_text("#subtitle") == name


def test_ctrl_c_ends_it_without_a_trace(outputs, browser, clip, tmp_path):
    page = browser.new_page()
    long = write_video(tmp_path / "long.avi", pictures(500))
    slow = ("window.clip_seconds=1", "window.hop=0.01", "batch_size=1")
    with serving(outputs, tmp_path, *slow) as (process, address):
        page.goto(address)
        page.select_option("#run", "mine/flow/split1-seed0")
        send(page, clip)
        title(page)
        [folder] = tmp_path.glob("actionrec-*")
        assert list(folder.iterdir()) == []
        send(page, long)
        expect(page.locator("#progress")).to_have_attribute("value", re.compile("0.[0-9]+"))
        assert [each.suffix for each in folder.iterdir()] == [".avi"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert not folder.exists()
        assert "Traceback" not in process.stderr.read()
        expect(page.locator("#status")).to_have_text("The server has been stopped.")
    send(page, clip)
    expect(page.locator("#status")).to_have_text("The page's server does not answer; is actionrec app still running?")
    page.close()
