"""The commands of docs/own-videos.md, on a small folder of videos."""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import noise_video

PAGE = Path(__file__).parents[1] / "docs/own-videos.md"


def commands(verb: str) -> list[list[str]]:
    """The words behind a verb, of each command of the page, as a shell would split them."""
    text = PAGE.read_text(encoding="utf-8")
    [own] = re.findall(r'^    OWN="(.*)"$', text, re.MULTILINE)
    lines = re.findall(rf"^    actionrec {verb} (.*)$", text, re.MULTILINE)
    return [
        [word for each in shlex.split(line) for word in (own.split() if each == "$OWN" else [each])] for line in lines
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, action in enumerate(("golf swing", "pull-ups")):
        for index in range(8):
            name = f"IMG_{number}{index // 2}_{index}.mp4.avi"
            noise_video(tmp_path / "my_videos" / action / name, 10, 10 * number + index)
    return tmp_path


def test_the_check_and_the_chain_take_the_folder(folder, run):
    [check], [train] = commands("prepare"), commands("chain")
    outcome = run("prepare", *check)
    assert outcome.status == 0, outcome.err
    assert re.search(r"^golf swing +4 +2 +2 +0$", outcome.out, re.MULTILINE)
    assert not (folder / "outputs").exists()
    outcome = run("chain", *train, "dry_run=true")
    assert outcome.status == 0, outcome.err
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [
        *(["folder_frame", "missing"], ["folder_flow", "missing"], ["folder_two_stream", "missing"]),
    ]


def test_the_other_commands_compose(compose_config):
    [report], [predict] = commands("report"), commands("predict")
    assert compose_config("report", *report).paths.name == "mine"
    checkpoint, *words = predict
    assert compose_config("predict", f"checkpoint={checkpoint}", *words).grad_cam is True
