import io
import logging
import multiprocessing
import os
import sys
import time

import pytest

from actionrec.system import gauges, terminal
from tests.system.screen import Screen, shown

log = logging.getLogger("actionrec.tests")


def on_screen(monkeypatch):
    """Set stderr and stdout to a terminal of 60 columns; no fixture, since pytest sets its streams after fixtures."""
    found = Screen()
    for name, value in {"TERM": "xterm", "COLUMNS": "61"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setattr(terminal, "REDRAWN", 0.005)
    return found


@pytest.fixture
def console(monkeypatch):
    handler = terminal.Console()
    handler.setFormatter(terminal.Formatter("[%(asctime)s] %(message)s", "%H:%M:%S"))
    monkeypatch.setattr(logging.getLogger("actionrec"), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("actionrec"), "level", logging.INFO)
    monkeypatch.setattr(logging.getLogger("actionrec"), "propagate", False)
    return handler


def record(level, message):
    return logging.LogRecord("actionrec", level, "", 0, message, (), None)


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize(("said", "columns"), [(0, 79), (1, 1), (100, 99)])
def test_a_terminal_that_does_not_know_its_width_counts_as_usual(monkeypatch, said, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stderr", open(os.devnull))  # noqa: SIM115
    monkeypatch.setattr(os, "get_terminal_size", lambda stream: os.terminal_size((said, 24)))
    assert terminal.columns() == columns


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    on_screen(monkeypatch)
    assert terminal.paint("error", terminal.RED) == "\x1b[1;31merror\x1b[0m"
    assert terminal.paint("", terminal.RED) == ""
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.paint("error", terminal.RED) == "error"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.paint("error", terminal.RED) == "error"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert terminal.paint("error", terminal.RED) == "error"
    monkeypatch.setattr(sys, "stderr", None)
    assert terminal.paint("error", terminal.RED) == "error"


@pytest.mark.parametrize(
    ("level", "message", "coloured"),
    [
        (logging.WARNING, "torn", "\x1b[33m torn\x1b[0m"),
        (logging.ERROR, "torn", "\x1b[1;31m torn\x1b[0m"),
        (logging.INFO, "val/acc 0.512  val/loss 1.000", " \x1b[1mval/acc 0.512\x1b[0m  val/loss 1.000"),
    ],
)
def test_log_lines_are_coloured_by_level_on_a_terminal_alone(console, level, message, coloured, monkeypatch):
    on_screen(monkeypatch)
    stamp, _, rest = console.formatter.format(record(level, message)).partition("]\x1b[0m")
    assert stamp.startswith("\x1b[2m[")
    assert rest == coloured
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert console.formatter.format(record(level, message)).partition("] ")[2] == message


def test_the_last_line_never_mixes_with_what_scrolls_above_it(console, monkeypatch):
    screen = on_screen(monkeypatch)
    with terminal.live("loading"):
        wait_for(lambda: "loading" in screen.getvalue())
        for number in range(50):
            log.info("line %d", number)
            print("printed", number)
            print(f"half {number}", end="", file=sys.stderr)
            terminal.doing(f"phase {number}")
            print(" and half", file=sys.stderr)
        wait_for(lambda: "phase 49" in screen.getvalue())
    lines, states = shown(screen.getvalue())
    assert [line.partition("] ")[2] or line for line in lines] == [
        *(text for number in range(50) for text in (f"line {number}", f"printed {number}", f"half {number} and half")),
        "",
    ]
    assert not [state for state in states if "…" in state and not state.startswith(("loading", "phase"))]
    assert sys.stderr is sys.stdout is screen


def test_the_last_line_is_as_wide_as_the_terminal_and_ticks(monkeypatch):
    screen = on_screen(monkeypatch)
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with terminal.live("reading " + "x" * 80):
        terminal.doing("reading")
        now[0] += 65
        end = time.perf_counter() + 20
        while "reading … 1:05" not in screen.getvalue() and time.perf_counter() < end:
            time.sleep(0.005)
    states = shown(screen.getvalue()).states
    assert "reading … 1:05" in states
    assert max(map(len, states)) == 60


def test_the_text_pushed_last_is_shown_and_the_one_before_it_comes_back(monkeypatch):
    screen = on_screen(monkeypatch)
    with terminal.live("outer"):
        with terminal.showing(lambda width: "inner"):
            pass
        wait_for(lambda: shown(screen.getvalue()).lines[-1].startswith("outer"))
    assert [state for state in shown(screen.getvalue()).states if state.startswith("inner")]
    assert shown(screen.getvalue()).lines == [""]


def test_an_error_leaves_no_line_behind(monkeypatch):
    screen = on_screen(monkeypatch)
    with pytest.raises(ValueError, match="odd"), terminal.live("outer"), terminal.showing(lambda width: "inner"):
        raise ValueError("odd")
    assert shown(screen.getvalue()).lines == [""]
    assert sys.stderr is screen


def test_without_a_terminal_a_silence_ends_with_a_line_of_the_log(monkeypatch, console):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr(terminal, "REDRAWN", 0.005)
    with terminal.live("loading"):
        time.sleep(0.1)
        assert file.getvalue() == ""
        monkeypatch.setattr(terminal, "SILENCE", 0.05)
        wait_for(lambda: file.getvalue().count("loading …") >= 2)
    assert "\x1b" not in file.getvalue()
    assert "\r" not in file.getvalue()


def test_nothing_is_drawn_outside_of_live(monkeypatch):
    screen = on_screen(monkeypatch)
    with terminal.showing(lambda width: "inner"):
        terminal.doing("something")
        time.sleep(0.02)
    assert screen.getvalue() == ""


class File:
    """A file that claims to be a terminal and is shared by processes."""

    encoding = "utf-8"

    def __init__(self, path):
        self.file = path.open("a")

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self.file, name)


def speak(number):
    print(f"child {number}", file=sys.stderr)
    sys.stderr.write("ends without a line end" if number == 19 else "")


@pytest.mark.ci
def test_a_fork_neither_draws_nor_hangs_nor_mixes_with_the_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", File(tmp_path / "shown"))
    monkeypatch.setattr(terminal, "REDRAWN", 0.0005)
    context = multiprocessing.get_context("fork")
    with terminal.live("working"), terminal.showing(lambda width: f"at {time.monotonic()}"):
        for number in range(20):
            child = context.Process(target=speak, args=(number,))
            child.start()
            child.join(20)
            assert child.exitcode == 0
    lines, states = shown((tmp_path / "shown").read_bytes().decode())
    assert "ends without a line end" in states
    assert lines == [*(f"child {number}" for number in range(20)), ""]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (125, "2:05"), (3725, "1:02:05"), (90061, "25:01:01")]
)
def test_durations(seconds, text):
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize("width", [1, 10, 30, 45, 60, 200])
def test_a_gauge_fits_and_its_bar_gives_way_first(width, monkeypatch):
    on_screen(monkeypatch)
    text = shown(gauges.gauge("epoch 3/12", 0.5, "loss 1.234", width)).lines[0]
    assert len(text) <= width
    assert ("loss 1.234" in text) == (width >= 28)
    assert text.count("━") == text.count("─") == {45: 8, 60: 15, 200: 15}.get(width, 0)


def test_a_count_says_how_much_how_fast_and_how_long(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(gauges.time, "monotonic", lambda: now[0])
    count = gauges.Count("flow", "fields", 1000)
    assert count.text(200) == "flow   0 %  0/1,000 fields"
    now[0], count.done, count.note = 10.0, 250, "3/9 clips"
    assert count.text(200) == "flow  25 %  250/1,000 fields  25/s  30 s left  3/9 clips"


def test_nothing_to_count_is_not_shown(monkeypatch):
    screen = on_screen(monkeypatch)
    with terminal.live("checking"), gauges.counting("flow", "fields", 0) as count:
        count.done += 1
    assert "flow" not in screen.getvalue()
