import os
import re
import subprocess
import sys
from collections import defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import tqdm

from actionrec.datasets import demo, demo_people
from actionrec.datasets.actions import SHARED, stanford40_name
from actionrec.system.errors import ActionRecError

TINY = {"stills_per_action": (2, 1), "clips_per_action": (3, 2), "frames": (5, 6), "size": (64, 48)}
NAME = r".+_{}_[uf]_(cm|nm)_np1_(fr|ba|le|ri)_(goo|med|bad)_\d\.avi"


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set") / "demo"
    demo.generate(root, workers=1, **TINY)
    return root


@pytest.fixture(scope="module")
def splits(root) -> dict[tuple[str, int], dict[str, int]]:
    """Tags by clip name, by action and split."""
    tags = {}
    for action in SHARED:
        for split in (1, 2, 3):
            text = (root / "hmdb51_splits" / f"{action}_test_split{split}.txt").read_bytes().decode()
            lines = [re.fullmatch(r"(.+\.avi) ([012]) ", line) for line in text.removesuffix("\n").split("\n")]
            tags[action, split] = {line[1]: int(line[2]) for line in lines}
            assert len(tags[action, split]) == len(lines)
    return tags


def source_of(name: str, action: str) -> str:
    return name.rpartition(f"_{action}_")[0]


def test_bytes_depend_on_the_seed_alone(root, tmp_path):
    demo.generate(tmp_path / "again", workers=2, **TINY)
    assert content(tmp_path / "again") == content(root)


def test_progress_is_shown_at_once_and_to_the_end(tmp_path, capsys):
    demo.generate(tmp_path / "demo", workers=1, **TINY)
    files = sum(path.suffix in (".jpg", ".avi") for path in (tmp_path / "demo").rglob("*"))
    lines = capsys.readouterr().err.split("\r")
    assert f"drawing:   0%|          | 0/{files} " in lines[1]
    assert f"{files}/{files}" in lines[-1]


def test_a_log_gets_a_line_every_few_seconds_however_slow_the_drawing_becomes(monkeypatch, capsys):
    clock, shown = 0.0, []

    def slower_and_slower(function, jobs, workers, progress):
        nonlocal clock
        assert "0%" in capsys.readouterr().err
        for done in (*range(0, 1000, 50), *range(1000, 1100)):
            clock += 0.5
            progress(done)
            if capsys.readouterr().err:
                shown.append(clock)
        return iter(())

    monkeypatch.setattr(tqdm.std, "time", lambda: clock)
    monkeypatch.setattr(demo, "run_jobs", slower_and_slower)
    demo._run([demo._Job("clip", 1100, lambda: None)], workers=1)
    gaps = [later - earlier for earlier, later in pairwise([0, *shown])]
    assert max(gaps) <= 3
    assert min(gaps) >= 2
    assert clock - shown[-1] <= 3


def test_nothing_heavy_is_loaded_before_the_first_words():
    code = (
        "import sys, actionrec.commands.app, actionrec.commands.prepare, actionrec.datasets.demo; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cv2" in loaded
    assert not {"torch", "torchvision", "lightning", "sklearn", "scipy", "matplotlib", "pandas"} & set(loaded)


def test_what_a_process_cannot_write_is_the_error_of_the_whole(tmp_path):
    missing = tmp_path / "nowhere" / "drinking_001.jpg"
    job = demo._Job("drink", 1, partial(demo._write_stills, [missing], "drink", 0))
    with pytest.raises(ActionRecError, match=f"OpenCV cannot write {missing}"):
        demo._run([job], workers=1)


def test_another_seed_gives_other_pictures(root, tmp_path):
    few = {**TINY, "clips_per_action": (1, 1), "frames": (2, 2)}
    demo.generate(tmp_path / "other", seed=1, workers=1, **few)
    other, mine = content(tmp_path / "other"), content(root)
    images = [name for name in other if name.endswith(".jpg")]
    assert images
    assert all(other[name] != mine[name] for name in images)
    assert not {other[name] for name in other if name.endswith(".avi")} & set(mine.values())


def test_stills_have_stanford40s_layout(root):
    folder = root / "Stanford40"
    lists = {path.name: path.read_bytes().decode() for path in (folder / "ImageSplits").iterdir()}
    for part, count in (("train", 2), ("test", 1)):
        names = {action: lists.pop(f"{stanford40_name(action)}_{part}.txt").split("\r\n") for action in SHARED}
        for action, listed in names.items():
            assert len(listed) == count + 1  # the last line has its end, too
            assert all(re.fullmatch(rf"{stanford40_name(action)}_\d{{3}}\.jpg", name) for name in listed[:-1])
        together = lists[f"{part}.txt"].split("\r\n")
        assert sorted(together) == sorted([""] + [name for listed in names.values() for name in listed[:-1]])
    assert set(lists) == {"train.txt", "test.txt"}
    listed = "".join(lists.values()).split()
    assert sorted(listed) == sorted(path.name for path in (folder / "JPEGImages").iterdir())
    assert len({(folder / "JPEGImages" / name).read_bytes() for name in listed}) == len(listed) == 3 * len(SHARED)
    assert cv2.imread(str(folder / "JPEGImages" / listed[0])).shape == (150, 200, 3)


def test_clips_on_disk_are_those_of_every_split(root, splits):
    for action in SHARED:
        on_disk = {path.name for path in (root / "hmdb51" / action).iterdir()}
        for split in (1, 2, 3):
            assert set(splits[action, split]) == on_disk
        assert all(re.fullmatch(NAME.format(action), name) for name in on_disk)


def test_splits_give_each_side_its_number_of_clips(splits):
    for tags in splits.values():
        assert [list(tags.values()).count(tag) for tag in (1, 2)] == [3, 2]
        assert 0 in tags.values()
    for action in SHARED:
        tests = {frozenset(name for name, tag in splits[action, split].items() if tag == 2) for split in (1, 2, 3)}
        assert len(tests) == 3


def test_a_source_is_of_one_action_and_on_one_side(splits):
    actions = defaultdict(set)
    for (action, _), tags in splits.items():
        sides, clips = defaultdict(set), defaultdict(int)
        for name, tag in tags.items():
            actions[source_of(name, action)].add(action)
            clips[source_of(name, action)] += 1
            sides[source_of(name, action)] |= {tag} - {0}
        assert all(len(side) <= 1 for side in sides.values())
        assert set(clips.values()) <= {2, 3, 4}
    assert all(len(of) == 1 for of in actions.values())


@pytest.mark.parametrize("counts", [(1, 1), (1, 5), (50, 20), (7, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_splits_of_any_size(counts, seed):
    settings = demo.Settings(seed, (1, 1), counts, (2, 2), (64, 48))
    sizes = [len(clips) for clips in demo._sources("wave", 3, settings).values()]
    folds = [demo._tags(sizes, counts, fold) for fold in range(3)]
    assert len({tuple(tag == 2 for tag in tags) for tags in folds}) == 3
    for tags in folds:
        assert (tags.count(1), tags.count(2)) == counts
        assert tags.count(0) >= 3


def test_names_are_as_hard_as_hmdb51s_and_their_videos_decode(root, splits):
    names = {name: action for action, split in splits for name in splits[action, split] if split == 1}
    for hard in "#!()&'@[]+;~ ":
        assert any(hard in name for name in names)
    assert any(not name.isascii() for name in names)
    assert any(name.count(f"_{action}_") == 2 for name, action in names.items())
    seen = set()
    for name, action in names.items():
        video = cv2.VideoCapture(str(root / "hmdb51" / action / name))
        assert video.get(cv2.CAP_PROP_FPS) == 30
        frames = []
        while (read := video.read())[0]:
            frames.append(read[1])
        assert frames[0].shape == (48, 64, 3)
        seen.add(len(frames))
    assert seen == {5, 6}


def test_a_complete_set_is_left_alone(root, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    monkeypatch.setattr(demo, "_run", None)
    demo.generate(root, workers=1, **TINY)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.fixture
def quick(monkeypatch):
    """A data set without drawing, for tests of the folders."""
    monkeypatch.setattr(demo, "_run", lambda jobs, workers: None)


def test_a_set_of_other_settings_is_replaced(tmp_path, quick):
    root = tmp_path / "demo"
    demo.generate(root, seed=0, **TINY)
    before = content(root)
    demo.generate(root, seed=1, **TINY)
    assert content(root) != before
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    "name",
    ["thesis.txt", "hmdb51/clap/mine.avi", "Stanford40/JPEGImages/me_001.jpg", "Stanford40/ImageSplits/notes.txt"],
)
def test_a_file_of_the_users_among_those_of_other_settings_is_kept(tmp_path, quick, name):
    demo.generate(tmp_path / "demo", seed=0, **TINY)
    (tmp_path / "demo" / name).write_text("mine")
    before = content(tmp_path / "demo")
    with pytest.raises(ActionRecError, match=f"holds {name}, which is not generated; move it away"):
        demo.generate(tmp_path / "demo", seed=1, **TINY)
    assert content(tmp_path / "demo") == before
    demo.generate(tmp_path / "demo", seed=0, **TINY)
    assert content(tmp_path / "demo") == before


def test_all_files_of_a_set_are_known_as_its_own(root):
    assert list(demo._foreign(root)) == []


def test_a_link_to_a_folder_stays(tmp_path, quick):
    (tmp_path / "disk").mkdir()
    (tmp_path / "demo").symlink_to(tmp_path / "disk")
    for seed in (0, 1):
        demo.generate(tmp_path / "demo", seed=seed, **TINY)
    assert (tmp_path / "demo").is_symlink()
    assert (tmp_path / "disk/demo.json").is_file()


def test_a_second_process_is_refused_while_the_first_is_at_work(tmp_path, monkeypatch):
    code = f"import pathlib, actionrec.datasets.demo as demo; demo.generate(pathlib.Path({str(tmp_path / 'demo')!r}))"

    def second(jobs, workers):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "ActionRecError" in done.stderr or "BusyError" in done.stderr
        assert f"data set {tmp_path / 'demo'} is being written by process {os.getpid()}" in done.stderr

    monkeypatch.setattr(demo, "_run", second)
    demo.generate(tmp_path / "demo", **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_an_empty_folder_is_filled(tmp_path, quick):
    demo.generate(tmp_path, **TINY)
    assert (tmp_path / "demo.json").is_file()


def test_a_folder_of_something_else_is_kept(tmp_path, quick):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ActionRecError, match=r"no demo\.json"):
        demo.generate(tmp_path, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("old", [False, True])
def test_interrupted_generation_leaves_what_was_there(tmp_path, quick, monkeypatch, old):
    root = tmp_path / "demo"
    if old:
        demo.generate(root, seed=1, **TINY)
    before = content(root)

    def interrupt(jobs, workers):
        jobs[0].write()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.generate(root, **TINY)
    assert content(root) == before
    assert list(tmp_path.iterdir()) == ([root] if old else [])


def test_every_two_actions_differ_in_look_or_motion():
    assert sorted(demo_people.ACTIONS) == sorted(SHARED)
    assert len(set(demo_people.ACTIONS.values())) == len(SHARED)
    for part, options in enumerate((demo_people.LOOKS, demo_people.MOTIONS)):
        chosen = [pair[part] for pair in demo_people.ACTIONS.values()]
        assert all(chosen.count(option) == 2 for option in options)


@pytest.mark.parametrize("pair", [("clap", "wave"), ("drink", "smoke"), ("jump", "run"), ("ride_bike", "ride_horse")])
def test_a_single_frame_of_two_actions_of_a_look_is_the_same_draw(pair):
    first, second = (demo_people.Performance(action, np.random.default_rng(5)).pose(0) for action in pair)
    assert first == second


@pytest.mark.parametrize("action", SHARED)
def test_only_the_own_motion_advances(action):
    performance = demo_people.Performance(action, np.random.default_rng(5))
    before, after = performance.pose(0), performance.pose(1)
    moved = {joint for joint in before if before[joint] != after[joint]}
    joints = set(demo_people.MOTIONS[demo_people.ACTIONS[action][1]].joints)
    assert moved == (set(before) if "body" in joints else joints)
