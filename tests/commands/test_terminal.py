"""Output of commands on a terminal, and off one."""

import re
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from tests.conftest import QUICK
from tests.system.screen import on_terminal, shown

XTERM = {"TERM": "xterm-256color", "COLUMNS": "110", "NO_COLOR": "", "HYDRA_FULL_ERROR": "0"}
STAMP = r"\[\d\d:\d\d:\d\d\] "


def command(verb, *overrides):
    return [sys.executable, "-m", "actionrec", verb, *overrides]


@pytest.mark.ci
def test_a_training_speaks_at_once_keeps_bar_and_log_apart_and_ends_with_a_table(paths):
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import hydra"], check=True)
    pace = time.monotonic() - begun  # on this machine, today
    done = on_terminal(command("train", "experiment=stanford40_frame", *paths, *QUICK, "trainer.max_epochs=2"), XTERM)
    assert done.status == 0, done.text
    assert done.pieces[0][0] < max(1.0, 4 * pace)
    times = [when for when, _ in done.pieces]
    assert max(after - before for before, after in pairwise(times)) < max(3.0, 12 * pace)

    lines, states = shown(done.text)
    logged = [line for line in lines if re.match(STAMP, line)]
    assert re.match(rf"{STAMP}train stanford40_frame \(recipe reference, split 1, seed 0\) → ", logged[0])
    assert [line.split()[2] for line in logged if re.match(rf"{STAMP}epoch", line)] == ["1/2", "2/2"]
    bars = [state for state in states if re.match(r"epoch \d/2 [━─]", state)]
    assert bars
    assert max(map(len, bars)) < 110
    assert not [line for line in lines if "━" in line or "─" in line or " … " in line]
    assert not [state for state in states if re.search(r"[━─].*\[\d\d:|\[\d\d:.*[━─]", state)]
    assert "v_num" not in done.text

    table = lines[lines.index(logged[-1]) :]
    assert re.match(rf"{STAMP}measured$", table[0])
    assert table[2].split() == ["|", "part", "|", "n", "|", "top-1", "|", "mean", "class", "|", "loss", "|"]
    assert re.search(r"\| test \| 24 +\| +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] \|", table[5])
    assert [line.partition(":")[0] for line in table[7:10]] == ["run", "TensorBoard", "report"]
    assert "\x1b[2m[" in done.text


@pytest.mark.ci
def test_errors_are_red_on_a_terminal_alone():
    asked = command("train")
    on, piped = on_terminal(asked, XTERM), subprocess.run(asked, capture_output=True, text=True)
    assert on.status == piped.returncode == 1
    assert re.fullmatch(r"error: say which experiment: .*\n", piped.stderr)
    assert shown(on.text).lines == [*piped.stderr.splitlines(), ""]
    assert "\x1b[1;31merror:\x1b[0m say which" in on.text
    plain = on_terminal(asked, {**XTERM, "TERM": "dumb"})
    assert plain.text.replace("\r\n", "\n") == piped.stderr


@pytest.mark.parametrize("option", ["--help", "--cfg=job"])
def test_what_hydra_prints_is_free_of_escape_codes(option):
    on = on_terminal(command("train", "experiment=hmdb51_frame", option), XTERM)
    assert on.status == 0
    assert "\x1b" not in on.text
    assert "actionrec train …" not in on.text
