"""Clips of none of the actions as a further class."""

import pytest

from actionrec.datasets.background import WithBackground, with_background
from actionrec.datasets.folder import Folder
from actionrec.datasets.stanford40 import Stanford40
from tests.conftest import attempt


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def actions(tmp_path):
    """Two actions of six clips each."""
    names = [f"{action}/{action}_{number}.mp4" for action in ("hop", "sit") for number in range(6)]
    return Folder("own", touch(tmp_path / "videos", *names), None, tmp_path / "out" / "split.csv")


@pytest.fixture
def data(actions, tmp_path):
    """With twenty background clips beside files that are none, and two films of ten clips."""
    clips = [f"street {number}.avi" for number in range(20)]
    films = [f"{film}/{number}.MP4" for film in ("one", "two") for number in range(10)]
    folder = touch(tmp_path / "none", *clips, *films, "._a.avi", "notes.txt", ".git/a.mp4")
    return WithBackground(actions, folder)


def test_background_is_the_last_action_and_is_divided_by_source(data, actions):
    labels, splits = data.index("all")
    assert labels == ("hop", "sit", "background")
    of_actions = actions.index("all")[1]
    background = [[clip for clip in part if clip.action == "background"] for part in splits]
    assert [[clip for clip in part if clip.action != "background"] for part in splits] == list(of_actions)
    assert sum(map(len, background)) == 40
    assert [4 <= len(part) <= 13 for part in background] == [False, True, True]
    groups = [{clip.group for clip in part} for part in background]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert {"background/one", "background/two", "background/street 3.avi"} <= set().union(*groups)


def test_the_parts_of_background_clips_are_the_same_each_time(data):
    assert data.index("all") == data.index(["hop", "sit", "background"]) == data.look("all")
    assert data.index(["sit", "hop"])[0] == ("sit", "hop", "background")


def test_clips_are_those_of_the_actions_and_the_background_under_names_of_their_own(data):
    clips = data.clips("all")
    assert len(clips) == 52
    assert len({clip.name for clip in clips}) == 52
    assert {"background/street 0", "background/one/0"} <= {clip.name for clip in clips}
    assert all(clip.path.is_file() for clip in clips)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.mp4", "b.mp4"], "has 2 clips of 2 source videos"),
        (["film/a.mp4", "film/b.mp4", "film/c.mp4"], "has 3 clips of 1 source videos"),
        (["a.mp4", "b.mp4", "b.avi", "c.mp4"], "share the name background/b"),
    ],
)
def test_a_folder_that_cannot_be_divided_is_refused(actions, tmp_path, names, said):
    assert said in attempt(WithBackground(actions, touch(tmp_path / "none", *names)).index, "all")[1]


def test_a_missing_folder_names_its_setting(actions, tmp_path):
    assert f"data.background={tmp_path}/gone" in attempt(WithBackground(actions, tmp_path / "gone").index, "all")[1]


def test_a_background_among_the_actions_is_one_too_many(data):
    touch(data.dataset.videos, *(f"background/{number}.mp4" for number in range(6)))
    assert "has an action background of its own" in attempt(data.index, "all")[1]


def test_stills_have_no_background(actions, tmp_path):
    stills = Stanford40("stanford40", tmp_path)
    assert with_background(stills, None) is stills
    assert with_background(actions, None) is actions
    assert "stanford40 has stills" in attempt(with_background, stills, tmp_path)[1]


def test_a_class_list_with_background_asks_for_the_folder(actions):
    assert "set data.background" in attempt(actions.index, ["hop", "sit", "background"])[1]
