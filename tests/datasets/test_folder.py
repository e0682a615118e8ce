import re
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actionrec.datasets.folder import Folder, draw, unique_names
from actionrec.datasets.listing import read
from actionrec.datasets.records import Clip, Splits
from actionrec.system.errors import ActionRecError

SUFFIXES = (".mp4", ".avi", ".MOV", ".mkv", ".webm")


def fill(root: Path, names: dict[str, list[str]]) -> Path:
    for action, files in names.items():
        (root / action).mkdir(parents=True)
        for name in files:
            (root / action / name).touch()
    return root


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    """Two actions of twenty clips of ten people."""
    names = [f"p{person}_{take}" for person in range(10) for take in range(2)]
    files = {a: [f"{a}_{name}{SUFFIXES[i % 5]}" for i, name in enumerate(names)] for a in ("hop", "sit")}
    return Folder("folder", fill(tmp_path / "videos", files), None, tmp_path / "out/split.csv")


def sides(splits: Splits) -> dict[str, set[str]]:
    return {part: {clip.name for clip in clips} for part, clips in splits._asdict().items()}


def test_folders_are_actions_and_files_clips(data, caplog):
    for name in ("._a.mp4", "a.txt", "a.jpg"):
        (data.videos / "hop" / name).touch()
    (data.videos / ".git").mkdir()
    (data.videos / ".git/a.mp4").touch()
    (data.videos / "readme.mp4").touch()
    clips = data.clips("all")
    assert [clip.action for clip in clips] == ["hop"] * 20 + ["sit"] * 20
    assert {clip.path.suffix for clip in clips} == set(SUFFIXES)
    assert "2 files and folders are no clips and are ignored (first: hop/a.jpg)" in caplog.text
    assert [clip.action for clip in data.clips(["sit", "hop"])] == ["sit"] * 20 + ["hop"] * 20


def test_a_split_is_drawn_once_and_read_again(data):
    actions, splits = data.index("all")
    assert actions == ("hop", "sit")
    assert [len(part) for part in splits] == [26, 6, 8]
    assert all(sum(clip.action == "hop" for clip in part) == len(part) / 2 for part in splits)
    written = data.split_file.read_text()
    assert written.splitlines()[0] == "path,action,split,group"
    assert len(read(data.split_file, data.videos)) == 40
    data.split_file.write_text(written.replace(",train,", ",test,", 1))
    assert [len(part) for part in data.index("all")[1]] == [25, 6, 9]


def test_the_seed_decides_the_draw(data, tmp_path):
    first = sides(data.index("all")[1])
    data.split_file.unlink()
    assert sides(data.index("all")[1]) == first
    assert sides(replace(data, seed=1, split_file=tmp_path / "other.csv").index("all")[1]) != first


def test_the_split_does_not_depend_on_the_choice_of_actions(data):
    fill(data.videos, {"run": [f"run_{i}.mp4" for i in range(5)]})
    part = sides(data.index(["sit", "hop"])[1])
    whole = sides(data.index("all")[1])
    assert all(part[name] == {each for each in whole[name] if not each.startswith("run")} for name in part)


def test_a_pattern_keeps_the_clips_of_a_source_on_one_side(data):
    grouped = replace(data, group_pattern=r"_(p\d+)_")
    _, splits = grouped.index("all")
    people = [{re.search(r"p\d+", clip.path.name)[0] for clip in part} for part in splits]
    assert [len(each) for each in people] == [6, 2, 2]
    assert len(set.union(*people)) == 10
    assert {clip.group for clip in splits.test} == people[2]


def test_names_that_the_pattern_does_not_match_are_counted(data, caplog):
    (data.videos / "hop/other.mp4").touch()
    clips = replace(data, group_pattern=r"_(p\d+)_").clips("all")
    assert "does not match the names of 1 of 41 clips (first: other.mp4)" in caplog.text
    assert [clip.group for clip in clips if clip.name == "other"] == ["hop/other.mp4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group_pattern": "(p"}, r"dataset\.group_pattern=\(p: not a regular expression"),
        ({"group_pattern": "p"}, r"dataset\.group_pattern=p: put the part .* in parentheses"),
        ({"group_pattern": 5}, r"dataset\.group_pattern=5: not a regular expression"),
        ({"seed": -1}, r"dataset\.seed=-1: use a whole number"),
        ({"seed": True}, r"dataset\.seed=True: use a whole number"),
        ({"videos": None}, r"dataset=folder has no clips; set dataset\.videos=<folder> or dataset\.csv="),
    ],
)
def test_bad_settings_are_one_line(data, change, message):
    with pytest.raises(ActionRecError, match=message):
        replace(data, **change)


def test_a_folder_without_clips_is_named(data, tmp_path):
    with pytest.raises(ActionRecError, match=r"dataset\.videos=.*is not a folder"):
        replace(data, videos=tmp_path / "none").index("all")
    fill(tmp_path / "bare", {"hop": ["a.txt"]})
    with pytest.raises(ActionRecError, match=r"dataset\.videos=.*has no <action>/\*\.mp4"):
        replace(data, videos=tmp_path / "bare").index("all")
    with pytest.raises(ActionRecError, match="has no action hopp; did you mean hop"):
        data.index(["hopp", "sit"])


@pytest.mark.parametrize("name", ["hop /a.mp4", " hop/a.mp4", "hop/a\nb.mp4", "hop/caf\udce9.mp4"])
def test_a_name_that_no_list_can_hold_is_refused(data, name):
    (data.videos / name).parent.mkdir(exist_ok=True)
    (data.videos / name).touch()
    with pytest.raises(ActionRecError, match="no list of clips can hold this name") as caught:
        data.index("all")
    assert str(caught.value).isprintable()
    assert not data.split_file.exists()


def test_blanks_around_the_source_video_of_a_name_do_not_matter(data):
    fill(data.videos, {"run": [f"Anna {i}.mp4" for i in range(3)] + [f"p{i}_0.mp4" for i in range(4)]})
    grouped = replace(data, group_pattern=r"(p\d+|Anna )")
    first = sides(grouped.index("all")[1])
    assert sides(grouped.index("all")[1]) == first
    assert "Anna" in {clip.group for clip in grouped.clips("all")}


def test_too_few_clips_are_refused_and_leave_no_split(data):
    fill(data.videos, {"run": ["a.mp4", "b.mp4"]})
    with pytest.raises(ActionRecError, match="no clip of run is left for test; add clips of other source videos"):
        data.index("all")
    assert not data.split_file.exists()
    (data.videos / "run/c.mp4").touch()
    _, splits = data.index("all")
    assert [sum(clip.action == "run" for clip in part) for part in splits] == [1, 1, 1]


def test_a_split_of_other_clips_is_refused(data, caplog):
    data.index("all")
    gone, new = next(path for path in data.videos.glob("hop/*")), data.videos / "sit/new.mp4"
    gone.unlink()
    new.touch()
    message = rf"split\.csv no longer matches .*: 1 are new \(first: new\.mp4\), 1 are gone \(first: {gone.name}\);"
    with pytest.raises(ActionRecError, match=message) as caught:
        data.index("all")
    assert "set data.strict=false to go on without them, or move the file away" in str(caught.value)
    _, splits = data.index("all", strict=False)
    assert sum(map(len, splits)) == 39
    assert "1 are new, 1 are gone" in caplog.text
    with pytest.raises(ActionRecError, match="39 have another source video now") as caught:
        replace(data, group_pattern=r"_(p\d+)_").index("all", strict=False)
    assert "data.strict" not in str(caught.value)


def draw_in_a_process(data: Folder) -> dict[str, set[str]]:
    return sides(data.index("all")[1])


def test_processes_that_start_at_once_share_a_split(data):
    seeds = [replace(data, seed=seed) for seed in range(4)]
    with get_context("fork").Pool(4) as pool:
        drawn = pool.map(draw_in_a_process, seeds)
    assert drawn == drawn[:1] * 4


def test_files_of_one_name_are_told_apart(tmp_path):
    fill(tmp_path / "videos", {a: [f"IMG_{i}.mp4" for i in range(5)] + [f"{a}.mp4"] for a in ("hop", "sit")})
    (tmp_path / "videos/hop/IMG_0.avi").touch()
    data = Folder("folder", tmp_path / "videos", None, tmp_path / "split.csv")
    names = {clip.path.relative_to(data.videos).as_posix(): clip.name for clip in data.clips("all")}
    assert names["hop/hop.mp4"] == "hop"
    assert names["sit/IMG_1.mp4"] == "sit/IMG_1"
    assert (names["hop/IMG_0.mp4"], names["hop/IMG_0.avi"]) == ("hop/IMG_0.mp4", "hop/IMG_0.avi")
    assert len(set(names.values())) == 13
    assert not {clip.group for clip in data.index("all")[1].train} & {clip.group for clip in data.index("all")[1].test}


def test_a_name_never_climbs(tmp_path):
    paths = {tmp_path / "data/hop/a.mp4": "hop", tmp_path / "other/a.mp4": "hop"}
    names = unique_names(paths, tmp_path / "data")
    assert list(names.values()) == ["hop/a.mp4", (tmp_path / "other/a.mp4").as_posix().lstrip("/")]


# CSV


def write_csv(root: Path, rows: list[str], header: str = "path,action,split,group") -> Folder:
    """A list in a folder whose files it names."""
    root.mkdir(exist_ok=True)
    (root / "list.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    for row in rows:
        path = root / row.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Folder("folder", None, root / "list.csv", root / "out/split.csv")


def test_the_splits_and_groups_of_a_list_are_kept(tmp_path, caplog):
    parts = ["train", "train", "val", "test"]
    rows = [f"s{i}/{a}.mp4,{a},{part},s{i}" for a in ("hop", "sit") for i, part in enumerate(parts)]
    data = write_csv(tmp_path / "set", rows)
    actions, splits = data.index("all")
    assert actions == ("hop", "sit")
    assert [[(clip.action, clip.group) for clip in part] for part in splits] == [
        [(a, group) for a in ("hop", "sit") for group in groups] for groups in (["s0", "s1"], ["s2"], ["s3"])
    ]
    assert sides(splits)["test"] == {"s3/hop.mp4", "s3/sit.mp4"}
    assert not data.split_file.exists()
    assert "the test accuracy is too high" not in caplog.text


def test_without_val_a_fifth_of_train_is_taken(tmp_path, caplog):
    rows = [f"{a}{i}.mp4,{a},{'test' if i > 9 else 'train'},{i % 10}" for a in ("hop", "sit") for i in range(12)]
    _, splits = write_csv(tmp_path / "set", rows).index("all")
    assert [len(part) for part in splits] == [16, 4, 4]
    assert "2 source videos have clips in test and in train or val (first: 0)" in caplog.text


def test_a_list_without_splits_has_one_drawn(tmp_path):
    rows = [f"deep/{i}.mp4,{a},,{i}" for a, r in (("hop", range(10)), ("sit", range(10, 20))) for i in r]
    data = write_csv(tmp_path / "set", rows)
    _, splits = data.index("all")
    assert [len(part) for part in splits] == [12, 4, 4]
    data.csv.write_text(data.csv.read_text().replace("deep/3.mp4,hop", "deep/3.mp4,sit"))
    with pytest.raises(ActionRecError, match=r"1 are of another action now \(first: 3\.mp4\)"):
        data.index("all")


def test_quotes_byte_order_marks_line_ends_and_any_order_of_columns_are_taken(tmp_path):
    parts = ("train", "val", "test")
    rows = [f'{part},"clips/{a}, {part}.mp4", {a} ' for a in ("hop", "sit") for part in parts]
    (tmp_path / "list.csv").write_bytes("\r\n".join(["\ufeffsplit, Path ,ACTION", *rows, ""]).encode())
    fill(tmp_path, {"clips": [f"{a}, {part}.mp4" for a in ("hop", "sit") for part in parts]})
    _, splits = Folder("folder", None, tmp_path / "list.csv", tmp_path / "split.csv").index("all")
    assert sides(splits) == {part: {f"{a}, {part}" for a in ("hop", "sit")} for part in parts}


def test_a_listed_clip_that_is_missing_is_an_error_unless_asked_for(tmp_path):
    rows = [f"{a}{i}.mp4,{a},,{i}" for a in ("hop", "sit") for i in range(10)]
    data = write_csv(tmp_path / "set", rows)
    (tmp_path / "set/hop3.mp4").unlink()
    with pytest.raises(ActionRecError, match=r"1 of the 20 clips that the lists name .*first: hop3\.mp4.*data\.strict"):
        data.index("all")
    assert not data.split_file.exists()
    assert sum(map(len, data.index("all", strict=False)[1])) == 19
    assert len(data.clips("all")) == 19


def test_a_listed_path_that_no_file_can_have_is_a_missing_clip(tmp_path):
    parts = ("train", "train", "val", "test")
    rows = [f"{a}{i}.mp4,{a},{part},{a}{i}" for a in ("hop", "sit") for i, part in enumerate(parts)]
    data = write_csv(tmp_path / "set", rows)
    data.csv.write_text(data.csv.read_text() + f"{'x' * 300}.mp4,hop,train,x\n")
    with pytest.raises(ActionRecError, match="1 of the 9 clips that the lists name are not under"):
        data.index("all")
    assert sum(map(len, data.index("all", strict=False)[1])) == 8
    assert len(data.clips("all")) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"l\.csv: wrong first line; name the columns path,action"),
        ("path;action\n", "separated by commas"),
        ("path,action,slpit\n", "name the columns"),
        ("path,path,action\n", "name the columns"),
        ("path,action\n", "it names no clip"),
        ("path,action\na.mp4\n", r"l\.csv:2: cannot read the line 'a\.mp4'; each must be path,action"),
        ("path,action\na.mp4,hop,x\n", r"l\.csv:2: cannot read"),
        ("path,action\na.mp4,\n", r"l\.csv:2: cannot read"),
        ("path,action\n\na.mp4,../x\n", r"l\.csv:3: '\.\./x' is no plain file name"),
        ("path,action,split\na.mp4,hop,dev\n", r"l\.csv:2: split 'dev': use train, val or test"),
        ("path,action,split\na.mp4,hop,test\nb.mp4,hop,\n", r"1 clips have no split \(first: b\.mp4\); give a split"),
        ("path,action\na.mp4,hop\n./x/../a.mp4,sit\n", r"l\.csv:3: .* is in the list twice"),
    ],
)
def test_a_bad_list_is_one_line_that_names_the_place(tmp_path, text, message):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ActionRecError, match=message) as caught:
        read(tmp_path / "l.csv", tmp_path)
    assert "\n" not in str(caught.value)


clips_of_sources = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(clips_of_sources, st.integers(0, 5))
def test_a_draw_keeps_sources_whole_and_serves_every_action_that_can_be(pairs, seed):
    clips = [Clip(Path(f"{i}.mp4"), action, f"{action}{source}") for i, (action, source) in enumerate(pairs)]
    drawn = draw(clips, seed)
    assert [each.path for each in drawn] == [clip.path for clip in clips]
    parts: dict[str, set[str]] = {}
    for each in drawn:
        parts.setdefault(each.group, set()).add(each.split)
    assert all(len(each) == 1 for each in parts.values())
    for action in {clip.action for clip in clips}:
        sources = {clip.group for clip in clips if clip.action == action}
        here = {each.split for each in drawn if each.action == action}
        wanted = {1: {"train"}, 2: {"train", "val"}}.get(len(sources), {"train", "val", "test"})
        assert here == wanted
