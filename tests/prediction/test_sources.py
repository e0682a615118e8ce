"""Which files a source names, and files that cannot be read."""

import os
from pathlib import Path

import pytest

from actionrec.prediction import sources
from tests.conftest import attempt


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.AVI", "still.JPG", "notes.pdf", "deep/c (1)#é.mov", "._a.avi", "odd[1].mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "videos"


def names(found, folder):
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_is_searched_to_its_depths(folder):
    videos = ["a.AVI", "b.mp4", "deep/c (1)#é.mov", "odd[1].mp4"]
    assert names(sources.find(str(folder), images=False), folder) == videos
    assert names(sources.find(str(folder), images=True), folder) == [*videos, "still.JPG"]


def test_patterns_files_and_lists_may_stand_beside_each_other(folder):
    listed = folder / "list.txt"
    listed.write_text("\ufeffdeep\r\n\r\nb.mp4\r\nnowhere.mp4\r\n", encoding="utf-8")
    found = sources.find([f"{folder}/*.mp4", f"{folder}/odd[1].mp4", str(listed)], images=False)
    assert names(found, folder) == ["b.mp4", "odd[1].mp4", "deep/c (1)#é.mov", "nowhere.mp4"]
    assert names(sources.find(f"{folder}/**/*.mov", images=False), folder) == ["deep/c (1)#é.mov"]


def test_sources_without_a_file_say_so(folder, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bare").mkdir()
    for source, said in {
        str(tmp_path / "bare"): "has no videos (.avi",
        f"{folder}/*.webm": "matches no file",
        str(tmp_path / "empty.txt"): "names no file",
        str(tmp_path / "gone.txt"): "cannot read the list",
    }.items():
        _, message = attempt(sources.find, source, False)
        assert source in message
        assert said in message


def test_files_that_are_missing_or_empty_say_so(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "no such file" in attempt(sources.check, tmp_path / "gone.mp4")[1]
    assert "is empty" in attempt(sources.check, tmp_path / "empty.mp4")[1]
    assert "no such file" in attempt(sources.check, tmp_path)[1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_says_so(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "cannot be read (Permission denied)" in attempt(sources.check, path)[1]


def test_a_folder_without_permission_says_so(folder, monkeypatch, caplog):
    whole, scan = sources.find(str(folder), False), os.scandir
    closed = {folder}

    def scandir(path):
        if Path(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "cannot be read (Permission denied)" in attempt(sources.find, str(folder), False)[1]
    inner = next(path.parent for path in whole if path.parent != folder)
    closed.clear()
    closed.add(inner)
    assert sources.find(str(folder), False) == [path for path in whole if inner not in path.parents]
    assert f"{inner} cannot be read" in caplog.text
