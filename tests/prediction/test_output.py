"""Answers to scores, and their three formats."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from actionrec.prediction import output
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.output import NONE, Answer, Segmentation
from actionrec.prediction.pipeline import Scored, Windowing
from actionrec.prediction.reading import Length
from actionrec.prediction.windows import Segment

ACTIONS = ("clap", "run", "wave")
SEGMENTATION = Segmentation(smooth=0.0, enter=0.6, leave=0.4, least=0.0)


def scored(*probabilities, duration=None, windowed=False):
    length = Length(10, duration) if duration else None
    return Scored(Path("a.mp4"), torch.tensor(probabilities).log(), length, windowed)


def answer_of(found, top=2, none=None, **calibration):
    windowing = Windowing(seconds=2.0, hop=1.0)
    course = output.course(found, Calibration(**calibration), windowing, SEGMENTATION._replace(none=none))
    return output.answer(found, course, ACTIONS, top)


def test_the_likeliest_actions_come_first():
    found = answer_of(scored([0.2, 0.1, 0.7], duration=0.4))
    assert [action for action, _ in found.top] == ["wave", "clap"]
    assert [probability for _, probability in found.top] == pytest.approx([0.7, 0.2])
    assert (found.rejected, found.duration, found.segments) == (False, 0.4, None)
    assert len(answer_of(scored([0.2, 0.1, 0.7]), top=9).top) == 3


def test_a_temperature_changes_the_probabilities_and_a_threshold_rejects():
    found = answer_of(scored([0.2, 0.1, 0.7]), temperature=1000.0, threshold=0.5)
    assert found.top[0][1] == pytest.approx(1 / 3, abs=0.001)
    assert found.rejected
    assert not answer_of(scored([0.2, 0.1, 0.7]), threshold=0.69).rejected


def test_background_is_none_of_these():
    found = answer_of(scored([0.2, 0.1, 0.7], duration=0.4), none=2)
    assert found.rejected
    assert found.top[0] == ("wave", pytest.approx(0.7))
    assert not answer_of(scored([0.2, 0.1, 0.7], duration=0.4), none=1).rejected
    rows = [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]
    assert [each.label for each in answer_of(scored(*rows, duration=3.5, windowed=True), none=2).segments] == [0]


def test_windows_become_segments():
    rows = [0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.9, 0.0]
    found = answer_of(scored(*rows, duration=5.5, windowed=True))
    assert [segment[:3] for segment in found.segments] == [(0.0, 2.5, 0), (3.5, 5.5, 1)]


WHOLE = Answer(Path("x/a b.mp4"), [("clap", 0.75), ("run", 0.25)], False, 1.5)
REJECTED = Answer(Path("c.jpg"), [("clap", 0.4), ("run", 0.35)], True, None)
CUT = Answer(Path("d.mp4"), [], False, 60.0, [Segment(0.0, 2.25, 2, 0.9), Segment(4.0, 6.0, 0, 0.8)])
NOTHING = Answer(Path("e.mp4"), [], False, 12.5, [])


def test_json_has_everything():
    found = json.loads(output.text([WHOLE, REJECTED, CUT, NOTHING], ACTIONS, "json"))
    assert found == [
        {
            "file": str(Path("x/a b.mp4")),
            "duration": 1.5,
            "action": "clap",
            "top": [{"action": "clap", "probability": 0.75}, {"action": "run", "probability": 0.25}],
        },
        {
            "file": "c.jpg",
            "duration": None,
            "action": None,
            "top": [{"action": "clap", "probability": 0.4}, {"action": "run", "probability": 0.35}],
        },
        {
            "file": "d.mp4",
            "duration": 60.0,
            "segments": [
                {"start": 0.0, "end": 2.25, "action": "wave", "probability": 0.9},
                {"start": 4.0, "end": 6.0, "action": "clap", "probability": 0.8},
            ],
        },
        {"file": "e.mp4", "duration": 12.5, "segments": []},
    ]


def test_csv_has_a_row_a_rank_or_a_segment():
    rows = list(csv.DictReader(io.StringIO(output.text([WHOLE, REJECTED, CUT, NOTHING], ACTIONS, "csv"))))
    assert [[row[key] for key in ("start", "end", "rank", "action")] for row in rows] == [
        ["", "", "1", "clap"],
        ["", "", "2", "run"],
        ["", "", "0", NONE],
        ["", "", "1", "clap"],
        ["", "", "2", "run"],
        ["0.0", "2.25", "1", "wave"],
        ["4.0", "6.0", "1", "clap"],
        ["0.0", "12.5", "0", NONE],
    ]


def test_the_table_names_several_files_below_their_common_folder(tmp_path):
    paths = [tmp_path / "a" / "clip.avi", tmp_path / "b" / "clip.avi"]
    text = output.text([WHOLE._replace(path=path) for path in paths], ACTIONS, "table")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == ["a/clip.avi", "b/clip.avi"]
    alone = output.text([WHOLE._replace(path=paths[0])], ACTIONS, "table")
    assert str(paths[0]) in alone


def test_the_table_names_what_is_none_of_the_actions():
    text = output.text([WHOLE, REJECTED, CUT, NOTHING], ACTIONS, "table")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line]
    assert [str(Path("x/a b.mp4")), "clap", "0.750", "run 0.250"] in lines
    assert ["c.jpg", NONE, "", "clap 0.400, run 0.350"] in lines
    assert ["d.mp4", "wave", "0.00", "2.25", "0.900"] in lines
    assert ["e.mp4", NONE, "0.00", "12.50", ""] in lines
