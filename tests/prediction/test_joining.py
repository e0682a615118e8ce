"""Videos of joined clips, and the measurement of localisation on them."""

import json

import numpy as np
import pytest

from actionrec.evaluation.localisation import Instance
from actionrec.prediction.joining import Part, join, shuffled
from tests.conftest import noise_video, write_video
from tests.prediction.conftest import KINDS, SMALL, reader_of


def gray_clip(path, levels, size=(48, 64)):
    return write_video(path, [np.full((*size, 3), level, np.uint8) for level in levels])


def test_frames_follow_each_other_and_borders_are_known(tmp_path):
    first, second = gray_clip(tmp_path / "a.avi", [10, 20, 30]), gray_clip(tmp_path / "b.avi", [100, 110])
    found = join("j", [Part(first, "run"), Part(second, None), Part(first, "clap")])
    assert found.duration == pytest.approx(8 / 25)
    assert found.instances == [
        Instance("j", 0.0, pytest.approx(3 / 25), "run"),
        Instance("j", pytest.approx(5 / 25), pytest.approx(8 / 25), "clap"),
    ]
    frames = [(grabbed.time, round(float(grabbed.image().mean()))) for grabbed in found.video.frames]
    assert [time for time, _ in frames] == pytest.approx([n / 25 for n in range(8)])
    assert [level for _, level in frames] == pytest.approx([10, 20, 30, 100, 110, 10, 20, 30], abs=4)


def test_neighbours_of_one_action_are_one_instance(tmp_path):
    clip = gray_clip(tmp_path / "a.avi", [10] * 5)
    found = join("j", [Part(clip, action) for action in ("run", "run", None, "run", "clap")])
    assert [(round(each.start, 2), round(each.end, 2), each.action) for each in found.instances] == [
        (0.0, 0.4, "run"),
        (0.6, 0.8, "run"),
        (0.8, 1.0, "clap"),
    ]


def test_frames_of_other_sizes_cover_the_size_of_the_first(tmp_path):
    wide = np.full((48, 128, 3), 200, np.uint8)
    wide[:, :20] = wide[:, -20:] = 0  # outside of the middle
    other = write_video(tmp_path / "b.avi", [wide] * 2)
    found = join("j", [Part(gray_clip(tmp_path / "a.avi", [90, 90]), "run"), Part(other, "run")])
    frames = [grabbed.image() for grabbed in found.video.frames]
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert frames[-1].mean() == pytest.approx(200, abs=3)


def test_windows_see_the_joined_frames(tmp_path):
    clips = [gray_clip(tmp_path / f"{level}.avi", [level] * 25) for level in (50, 200)]
    found = join("j", [Part(clip, "run") for clip in clips])
    *samples, length = reader_of().windows(found.video, 1.0, 1.0)
    assert length.frames == 50
    assert [float(each.inputs["frame"].float().mean()) for each in samples] == pytest.approx([50, 200], abs=4)


def test_every_clip_is_used_once_in_an_order_by_seed(tmp_path):
    parts = [Part(tmp_path / f"{n}.avi", "run") for n in range(11)]
    groups = shuffled(parts, 4, seed=0)
    assert [len(group) for group in groups] == [6, 5]
    assert sorted(part for group in groups for part in group) == sorted(parts)
    assert groups == shuffled(parts, 4, seed=0)
    assert groups != shuffled(parts, 4, seed=1)


def test_evaluate_measures_localisation(run, paths, tmp_path, checkpoint_of):
    noise_video(tmp_path / "background" / "a.avi", 12)
    path, out = checkpoint_of(*KINDS["frame"]), tmp_path / "measured"
    window = ["window.seconds=0.4", "window.hop=0.2", "window.smooth=0", "window.enter=0", "window.leave=0"]
    words = [f"checkpoint={path}", f"output={out}", "localisation=true", "localisation.clips=3", *window]
    background = f"localisation.background={tmp_path / 'background'}"
    outcome = run("evaluate", *paths, *SMALL, *KINDS["frame"], *words, background)
    assert outcome.status == 0, outcome.err
    found = json.loads((out / "localisation.json").read_text())
    printed = dict(line.split() for line in outcome.out.strip().splitlines())
    assert float(printed["test/localisation_map_0.5"]) == pytest.approx(found["test/localisation_map_0.5"], abs=1e-4)
    assert set(found["per_action"]) == {"clap", "wave"}
    # Six test clips and one of background; windows without a threshold leave no time without an action.
    assert len(found["videos"]) == 2
    assert sum(found["videos"].values()) == pytest.approx(sum(d["end"] - d["start"] for d in found["detections"]))
    named = sum(each["end"] - each["start"] for each in found["instances"])
    assert named == pytest.approx(sum(found["videos"].values()) - 12 / 25)
    assert "| mean " in outcome.err


def test_stills_have_no_localisation(run, paths, tmp_path, checkpoint_of):
    stills = ["experiment=stanford40_frame", "data.actions=[applauding,drinking]"]
    path = checkpoint_of(*stills)
    words = [f"checkpoint={path}", f"output={tmp_path / 'measured'}", "localisation=true"]
    assert "stills, which have no time" in run("evaluate", *paths, *SMALL, *stills, *words).err
