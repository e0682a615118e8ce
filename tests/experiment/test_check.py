import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from actionrec.datasets.folder import Folder
from actionrec.datasets.stanford40 import Stanford40
from actionrec.experiment.check import Facts, check, inspect, lines
from actionrec.system.errors import ActionRecError

PARTS = ("train", "train", "val", "test")


def mp4(path: Path, frames: int, seed: int, size: tuple[int, int] = (64, 48)) -> Path:
    """An MPEG-4 film of smooth random pictures at 20 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, size)
    for _ in range(frames):
        writer.write(cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), size))
    writer.release()
    return path


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    """A data set of two actions with four clips each, and their parts."""
    rows = ["path,action,split"]
    for number, action in enumerate(("hop", "sit")):
        for index, part in enumerate(PARTS):
            name = f"{action}/{action}{index}.mp4"
            mp4(tmp_path / name, 10 + index, 10 * number + index)
            rows.append(f"{name},{action},{part}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return Folder("mine", None, tmp_path / "list.csv", tmp_path / "split.csv")


def test_a_sound_set_is_counted(data, tmp_path):
    report = check(data, 1)
    assert (report.notes, report.wrong) == ([], [])
    assert report.counts == {action: {"train": 2, "val": 1, "test": 1} for action in ("hop", "sit")}
    text = lines(report, "clips")
    assert text[:4] == [
        "action  train  val  test  unused",
        "hop         2    1     1       0",
        "sit         2    1     1       0",
        "all         4    2     2       0",
    ]
    assert text[4:] == [
        "sizes: 64×48 (8)",
        "frames: 10 to 13, median 11.5",
        "frames a second: 20 to 20, median 20",
        "seconds: 0.5 to 0.65, median 0.575",
    ]


def test_a_check_keeps_no_split_so_that_what_is_wrong_can_be_taken_out(data, tmp_path):
    data.csv.write_text(re.sub(",(split|train|val|test)(?=\n|$)", "", data.csv.read_text()))
    (tmp_path / "hop/hop3.mp4").write_bytes(b"no film")
    report = check(data, 1)
    assert report.counts == {action: {"train": 2, "val": 1, "test": 1} for action in ("hop", "sit")}
    assert not data.split_file.exists()
    data.csv.write_text(data.csv.read_text().replace("hop/hop3.mp4,hop\n", ""))
    _, splits = data.index("all")
    assert check(data, 1).wrong == []
    assert data.look("all")[1] == splits


def test_what_a_file_is_like(tmp_path):
    facts = inspect(mp4(tmp_path / "a.mp4", 7, 0, (48, 64)), "clips")
    assert facts[1:] == (7, 7, 48, 64, 20.0)
    with pytest.raises(ActionRecError, match=r"cannot read .*b\.mp4: No such file"):
        inspect(tmp_path / "b.mp4", "clips")


def test_a_file_that_cannot_be_read_is_wrong(data, tmp_path):
    (tmp_path / "hop/hop0.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 200)
    report = check(data, 2)
    assert report.wrong == [f"1 cannot be read: {tmp_path}/hop/hop0.mp4"]
    assert len(report.facts) == 7


def test_the_same_bytes_on_two_sides_are_wrong(data, tmp_path):
    shutil.copy(tmp_path / "hop/hop0.mp4", tmp_path / "hop/hop3.mp4")
    report = check(data, 1)
    assert report.wrong == [
        "1 have the same bytes in the test and in train or val: hop/hop0.mp4 (train) = hop/hop3.mp4 (test)"
    ]
    assert not report.notes


def test_the_same_bytes_on_one_side_or_under_two_actions_are_a_note(data, tmp_path):
    shutil.copy(tmp_path / "hop/hop0.mp4", tmp_path / "sit/sit1.mp4")
    report = check(data, 1)
    assert not report.wrong
    same = "hop/hop0.mp4 (train) = sit/sit1.mp4 (train)"
    assert report.notes == [
        f"1 have the same bytes as another file: {same}",
        f"1 have the same bytes under two actions: {same}",
    ]


def test_short_clips_and_those_cut_short_are_noted(data, tmp_path, monkeypatch):
    mp4(tmp_path / "sit/sit2.mp4", 8, 5)
    monkeypatch.setattr("actionrec.experiment.check.inspect", shortened)
    report = check(data, 1)
    assert report.notes == [
        "1 have far fewer frames than their files announce and may be truncated: hop1.mp4",
        "1 have fewer than 9 frames, too few for a stack of eight flow fields: sit2.mp4",
    ]
    assert not report.wrong


def shortened(path: Path, kind: str) -> Facts:
    """The container announces twice the frames of the file."""
    facts = inspect(path, kind)
    return facts._replace(announced=2 * facts.frames) if path.name == "hop1.mp4" else facts


def test_clips_that_no_side_has_count_as_unused(tmp_path):
    from actionrec.datasets.hmdb51 import HMDB51
    from tests.conftest import noise_video, write_splits

    tags = {a: {f"f{i}_{a}_0.avi": 2 if i == 5 else 1 for i in range(6)} for a in ("hop", "sit")}
    write_splits(tmp_path / "splits", tags)
    for action, names in tags.items():
        for index, name in enumerate([*names, "spare.avi"]):
            noise_video(tmp_path / "videos" / action / name, 9, index + 10 * len(action) + (action == "sit") * 50)
    report = check(HMDB51("hmdb51", tmp_path / "videos", tmp_path / "splits", 1), 1)
    assert [counts["unused"] for counts in report.counts.values()] == [1, 1]
    assert [counts["test"] for counts in report.counts.values()] == [1, 1]


def test_stills_are_checked_too(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "ImageSplits").mkdir()
    rng = np.random.default_rng(0)
    for part, numbers in (("train", range(10)), ("test", range(10, 12))):
        names = [f"{action}_{number:03}.jpg" for action in ("applauding", "running") for number in numbers]
        (tmp_path / "ImageSplits" / f"{part}.txt").write_text("\n".join(names))
        for name in names:
            cv2.imwrite(str(tmp_path / "JPEGImages" / name), rng.integers(0, 256, (20, 30, 3), np.uint8))
    images = tmp_path / "JPEGImages"
    shutil.copy(images / "running_000.jpg", images / "running_011.jpg")
    (images / "applauding_001.jpg").write_bytes(b"junk")
    report = check(Stanford40("stanford40", tmp_path), 1)
    assert report.counts["clap"].total() == 12
    assert report.wrong[0] == f"1 cannot be read: {images}/applauding_001.jpg"
    assert "run/running_011.jpg (test)" in report.wrong[1]
    assert "sizes: 30×20 (23)" in lines(report, "stills")
    assert not any(line.startswith("frames") for line in lines(report, "stills"))
