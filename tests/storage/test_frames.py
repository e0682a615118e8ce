import errno
import subprocess
import sys
import time

import numpy as np
import pytest

from actionrec.datasets.folder import Folder
from actionrec.datasets.records import Clip
from actionrec.storage import frames
from actionrec.storage import pictures as picture_zip
from actionrec.storage.pictures import clip_path
from actionrec.storage.video import read_frames
from actionrec.system.errors import ActionRecError
from actionrec.system.locks import only_writer
from tests.conftest import noise_video, raise_error


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    names = ["a_wave_1", "#b (c)!_wave_2"]
    return [
        Clip(noise_video(tmp_path / "videos" / "wave" / f"{name}.avi", 9 + seed, seed), "wave", name)
        for seed, name in enumerate(names)
    ]


def gathered(folder, clip: Clip) -> list[int]:
    return picture_zip.read_header(clip_path(folder, clip), "")["indices"]


def test_frames_are_those_of_the_video(tmp_path, clips):
    frames.extract_missing(clips, tmp_path / "frames", [0.5, 1.0], workers=2)
    for n_frames, clip in zip((9, 10), clips, strict=True):
        path = clip_path(tmp_path / "frames", clip)
        assert frames.count(path) == n_frames
        last = n_frames - 1
        for index, original in zip(
            (5 if n_frames == 10 else 4, last), read_frames(clip.path, [n_frames // 2, last]), strict=True
        ):
            [found] = frames.read(path, [index])
            assert found.shape == (48, 64, 3)
            assert np.abs(found.astype(int) - original).mean() < 8  # JPEG's


def test_clips_of_one_stem_have_frames_of_their_own(tmp_path):
    """As two folders of one action, two actions, or two suffixes have them."""
    places = ("day1/hop/IMG_1.avi", "day2/hop/IMG_1.avi", "day2/hop/IMG_1.mkv", "day1/sit/IMG_1.avi", "day1/hop/a.avi")
    for seed, place in enumerate(places):
        noise_video(tmp_path / place, 9, seed)
    (tmp_path / "list.csv").write_text("\n".join(["path,action", *(f"{each},{each.split('/')[1]}" for each in places)]))
    clips = Folder("folder", None, tmp_path / "list.csv", tmp_path / "split.csv").clips("all")
    frames.extract_missing(clips, tmp_path / "frames", [0.5], workers=1)
    stored = {clip.path: clip_path(tmp_path / "frames", clip) for clip in clips}
    assert len(set(stored.values())) == 5
    assert {place: stored[tmp_path / place].relative_to(tmp_path / "frames").as_posix() for place in places[3:]} == {
        "day1/sit/IMG_1.avi": "sit/IMG_1.zip",
        "day1/hop/a.avi": "hop/a.zip",
    }
    for video, path in stored.items():
        [found], [original] = frames.read(path, [4]), read_frames(video, [4])
        assert np.abs(found.astype(int) - original).mean() < 8  # JPEG's


def test_what_is_there_stays_and_what_lacks_is_added(tmp_path, clips):
    folder = tmp_path / "frames"
    frames.extract_missing(clips, folder, [0.5], workers=1)
    first = {path: path.stat().st_mtime_ns for path in folder.rglob("*.zip")}
    frames.extract_missing(clips, folder, [0.5], workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.zip")} == first
    frames.extract_missing(clips, folder, [0.0, 1.0], workers=1)
    assert gathered(folder, clips[0]) == [0, 4, 8]
    assert gathered(folder, clips[1]) == [0, 5, 9]


def test_two_that_want_other_frames_of_a_clip_do_not_undo_each_other(tmp_path, clips):
    """The second process waits for the lock, then adds its frames to those of the first."""
    folder = tmp_path / "frames"
    code = "import sys; from pathlib import Path; from actionrec.storage.frames import *\n"
    code += "clips = [Clip(Path(path), 'wave', '') for path in sys.argv[3:]]\n"
    code += "extract_missing(clips, Path(sys.argv[1]), [float(sys.argv[2])], 1)"
    command = [sys.executable, "-c", code, str(folder)]
    names = [str(clip.path) for clip in clips]
    with only_writer(folder, "frames in"):
        both = [subprocess.Popen([*command, fraction, *names], stderr=subprocess.PIPE) for fraction in ("0", "1")]
        time.sleep(1)
        assert not folder.exists()
    assert [process.communicate() and process.returncode for process in both] == [0, 0]
    assert gathered(folder, clips[0]) == [0, 8]


def test_frames_that_are_all_there_need_no_folder_that_can_be_written_to(tmp_path, clips, monkeypatch):
    folder = tmp_path / "frames"
    frames.extract_missing(clips, folder, [0.5], workers=1)
    monkeypatch.setattr(frames, "only_writer", raise_error(OSError("read-only")))
    frames.extract_missing(clips, folder, [0.5], workers=1)


def test_a_full_disk_is_said_and_leaves_nothing_half_done(tmp_path, clips, monkeypatch):
    folder = tmp_path / "frames"
    with monkeypatch.context() as full:
        full.setattr(picture_zip, "encode", raise_error(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match=r"No space left on device: '.*\.zip'"):
            frames.extract_missing(clips, folder, [0.5], workers=1)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    frames.extract_missing(clips, folder, [0.5], workers=1)
    assert gathered(folder, clips[0]) == [4]


def test_damaged_files_and_other_clips_are_replaced(tmp_path, clips):
    folder = tmp_path / "frames"
    frames.extract_missing(clips, folder, [0.5], workers=1)
    clip_path(folder, clips[0]).write_bytes(b"cut short")
    noise_video(clips[1].path, 4, seed=9)
    frames.extract_missing(clips, folder, [0.5], workers=1)
    assert frames.count(clip_path(folder, clips[0])) == 9
    assert frames.count(clip_path(folder, clips[1])) == 4


def test_a_clip_that_does_not_decode_is_named(tmp_path, clips):
    clips[1].path.write_bytes(b"no video")
    with pytest.raises(
        ActionRecError, match=r"frames of 1 of 2 clips cannot be extracted \(first: cannot decode .*#b \(c\)!_wave_2"
    ):
        frames.extract_missing(clips, tmp_path / "frames", [0.5], workers=1)
    assert [path.stem for path in (tmp_path / "frames").rglob("*.zip")] == ["a_wave_1"]


def test_a_frame_that_is_not_held_is_named(tmp_path, clips):
    frames.extract_missing(clips, tmp_path / "frames", [0.5], workers=1)
    with pytest.raises(ActionRecError, match="has no readable picture 3; delete it and run"):
        frames.read(clip_path(tmp_path / "frames", clips[0]), [3])


def test_clips_that_were_cut_short_are_counted_and_the_first_is_named(tmp_path, clips, caplog):
    whole = Clip(noise_video(tmp_path / "videos" / "wave" / "whole.avi", 30), "wave", "whole")
    cut = Clip(whole.path.with_name("cut.avi"), "wave", "cut")
    cut.path.write_bytes(whole.path.read_bytes()[: whole.path.stat().st_size // 2])
    frames.extract_missing([*clips, whole], tmp_path / "frames", [0.5], workers=1)
    assert "truncated" not in caplog.text
    frames.extract_missing([*clips, whole, cut], tmp_path / "frames", [0.5], workers=1)
    assert "1 of 4 clips have far fewer frames than their files announce" in caplog.text
    assert str(cut.path) in caplog.text


def test_clips_whose_names_differ_by_their_suffix_have_files_of_their_own(tmp_path):
    aliases = ["wave/a.mp4", "wave/a.mov"]
    clips = [Clip(tmp_path / alias, "wave", alias, alias) for alias in aliases]
    assert [clip_path(tmp_path, clip).name for clip in clips] == ["a.mp4.zip", "a.mov.zip"]
    assert clip_path(tmp_path, Clip(tmp_path / "x/b.avi", "wave", "b")) == tmp_path / "wave" / "b.zip"
