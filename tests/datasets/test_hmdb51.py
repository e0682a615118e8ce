import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actionrec.datasets.hmdb51 import HMDB51, actions_in, clips_on_disk, index, read_list, source_of
from actionrec.system.errors import ActionRecError
from tests.conftest import attempt, write_splits
from tests.real_data import SAMPLES, needs

REAL_LISTS = SAMPLES / "hmdb51_splits"
JHMDB_LISTS = REAL_LISTS.parent / "jhmdb" / "splits"


def lay_out(root: Path, tags: dict[str, dict[str, int]], on_disk: bool = True) -> tuple[Path, Path]:
    write_splits(root / "splits", tags)
    for action, names in tags.items():
        (root / "videos" / action).mkdir(parents=True)
        for name in names if on_disk else ():
            (root / "videos" / action / name).touch()
    return root / "videos", root / "splits"


def clips_of(action: str, sources: int, each: int = 2) -> dict[str, int]:
    """Two thirds of the sources are for training, the others for the test; one clip is unused."""
    names = {
        f"film{source}_{action}_f_cm_np1_fr_med_{n}.avi": 1 if source < sources * 2 // 3 else 2
        for source in range(sources)
        for n in range(each)
    }
    return {**names, f"unused_{action}_f_cm_np1_fr_med_0.avi": 0}


@pytest.mark.parametrize(
    ("name", "action", "source"),
    [
        ("#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "clap", "#20_Rhythm"),
        ("boom-snap-clap_clap_u_nm_np1_fr_med_0.avi", "clap", "boom-snap-clap"),
        ("The_clap_clap_song_clap_u_nm_np1_fr_med_0.avi", "clap", "The_clap_clap_song"),
        ("yt00_no_fight_f_cm_np2_fr_med_1.avi", "no_fight", "yt00"),
        ("my_holiday.avi", "wave", "my_holiday"),
    ],
)
def test_the_source_is_the_name_up_to_the_last_action(name, action, source):
    assert source_of(name, action) == source


def test_tags_decide_the_part_and_zero_is_unused(tmp_path):
    tags = {action: clips_of(action, 15) for action in ("clap", "wave")}
    actions, splits = index(*lay_out(tmp_path, tags), split=1, actions=["wave", "clap"])
    assert actions == ("wave", "clap")
    for action in actions:
        named = {tag: {name for name, t in tags[action].items() if t == tag} for tag in (0, 1, 2)}
        parts = [{clip.path.name for clip in part if clip.action == action} for part in splits]
        assert parts[0] | parts[1] == named[1]
        assert parts[2] == named[2]
        assert not named[0] & (parts[0] | parts[1] | parts[2])


def test_validation_is_a_fifth_by_source_video_and_the_same_every_time(tmp_path):
    tags = {action: clips_of(action, 30, each=3) for action in ("clap", "wave", "run")}
    folders = lay_out(tmp_path, tags)
    _, splits = index(*folders, split=1, actions="all")
    assert not {clip.group for clip in splits.train} & {clip.group for clip in splits.val}
    for action in tags:
        train, val = (sum(clip.action == action for clip in part) for part in splits[:2])
        assert 0.1 <= val / (train + val) <= 0.3
    assert index(*folders, split=1, actions="all") == index(*folders, split=1, actions="all")


def test_two_clips_of_one_name_are_refused_by_both_who_would_read_them(tmp_path):
    """By the extraction of flow in any case, and by the index if the lists name both."""
    tags = {action: clips_of(action, 15) for action in ("clap", "wave")}
    videos, lists = lay_out(tmp_path, tags)
    first, other = (videos / f"clap/film0_clap_f_cm_np1_fr_med_0.{suffix}" for suffix in ("avi", "mp4"))
    other.touch()
    data = HMDB51("hmdb51", videos, lists, 1)
    with pytest.raises(ActionRecError, match=f"{first} and {other} share the name film0_clap"):
        data.clips("all")
    assert len(data.index("all")[1].test) == 20
    write_splits(lists, {**tags, "clap": {**tags["clap"], other.name: 2}})
    with pytest.raises(ActionRecError, match=f"{first} and {other} share the name film0_clap"):
        data.index("all")


def test_clips_of_two_actions_may_share_a_name(tmp_path):
    """As their frames and flow lie in folders of the actions; for scores, the names that the lists use must differ."""
    tags = {action: {**clips_of(action, 15), "spare.avi": 0} for action in ("clap", "wave")}
    data = HMDB51("hmdb51", *lay_out(tmp_path, tags), 1)
    assert sum(clip.name == "spare" for clip in data.clips("all")) == 2


def test_the_official_splits_are_those_of_the_lists(tmp_path):
    data = HMDB51("mine", tmp_path, tmp_path, 1)
    assert data.official_splits() == []
    names = [
        f"{action}_test_split{split}.txt" for action, split in (("run", 2), ("wave", 10), ("wave", 2), ("wave", 0))
    ]
    for name in (*names, "x.txt"):
        (tmp_path / name).touch()
    assert data.official_splits() == [2, 10]


def test_missing_clips_are_an_error_unless_asked_for(tmp_path, caplog):
    tags = {action: clips_of(action, 15) for action in ("clap", "wave")}
    videos, lists = lay_out(tmp_path, tags)
    gone = videos / "clap" / "film3_clap_f_cm_np1_fr_med_1.avi"
    gone.unlink()
    with pytest.raises(ActionRecError, match=f"1 of the 40 training clips.*first: {gone.name}.*data.strict=false"):
        index(videos, lists, 1, "all")
    _, splits = index(videos, lists, 1, "all", strict=False)
    assert gone.name not in {clip.path.name for part in splits for clip in part}
    assert "1 of the 40 training clips of split 1 that the lists name are not on disk" in caplog.text


@pytest.mark.parametrize("suffix", [".avi", ".MP4", ".mov", ".mkv", ".webm", ".mpg", ".MPEG"])
def test_a_clip_is_a_file_with_a_videos_suffix(tmp_path, suffix):
    (tmp_path / "clap").mkdir()
    for name in (f"b_clap_0{suffix}", "a_clap_0.avi", f"._b_clap_0{suffix}", "b_clap_0.txt", "b_clap_0.jpg", "avi"):
        (tmp_path / "clap" / name).touch()
    found = clips_on_disk(tmp_path, ["clap", "wave"])
    assert [(clip.path.name, clip.action, clip.group, clip.name) for clip in found] == [
        ("a_clap_0.avi", "clap", "a", "a_clap_0"),
        (f"b_clap_0{suffix}", "clap", "b", "b_clap_0"),
    ]


def test_the_data_set_is_its_lists_and_what_is_on_disk(tmp_path):
    folders = lay_out(tmp_path, {action: clips_of(action, 15) for action in ("clap", "wave")})
    data = HMDB51("hmdb51", *map(str, folders), split=1)
    assert data.index(["wave", "clap"]) == index(*folders, 1, ["wave", "clap"])
    assert [clip.action for clip in data.clips(["wave", "clap"])] == ["wave"] * 31 + ["clap"] * 31
    with pytest.raises(ActionRecError, match="has no action wav; did you mean wave"):
        data.clips(["wav", "clap"])
    for path in folders[0].glob("*/*"):
        path.unlink()
    with pytest.raises(ActionRecError, match=r"no clips of clap, wave under .*; check paths\.hmdb51 and data\.actions"):
        data.clips("all")


def test_an_action_without_clips_is_named(tmp_path):
    tags = {"clap": clips_of("clap", 15), "wave": clips_of("wave", 15)}
    videos, lists = lay_out(tmp_path, tags)
    for path in (videos / "wave").iterdir():
        path.unlink()
    with pytest.raises(ActionRecError, match="no clips to train wave on"):
        index(videos, lists, 1, "all", strict=False)
    with pytest.raises(ActionRecError, match=r"split=2: there is no split 2 in .*; use 1"):
        index(videos, lists, 2, ["clap", "wave"])
    (lists / "wave_test_split1.txt").rename(lists / "wave_test_split3.txt")
    with pytest.raises(ActionRecError, match=r"split=abc: there is no split abc in .*; use 1, 3"):
        index(videos, lists, "abc", ["clap", "wave"])
    with pytest.raises(ActionRecError, match=r"paths\.hmdb51=.*is not a folder"):
        index(tmp_path / "none", lists, 1, "all")


def test_an_empty_part_is_named(tmp_path):
    tags = {action: {f"f{i}_{action}_x.avi": 1 for i in range(10)} for action in ("clap", "wave")}
    with pytest.raises(ActionRecError, match="no clips in the test split for clap, wave"):
        index(*lay_out(tmp_path, tags), split=1, actions="all")


def test_a_line_that_is_none_is_quoted(tmp_path):
    (tmp_path / "l.txt").write_text("a.avi 1 \nb.avi 7 \n")
    with pytest.raises(ActionRecError, match=r"cannot read the line 'b\.avi 7 '"):
        read_list(tmp_path / "l.txt")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a.avi 1\n../other/x.avi 2\n", r"l\.txt:2: '\.\./other/x\.avi' is no plain file name"),
        (b"/etc/passwd 1\n", r"l\.txt:1: '/etc/passwd' is no plain file name"),
        (b"sub/x.avi 1\n", "is no plain file name"),
        (b"..\\x.avi 1\n", "is no plain file name"),
        (b".. 1\n", "is no plain file name"),
        (b"a\0b.avi 1\n", "is no plain file name"),
        (b"x" * 300 + b".avi 1\n", r"l\.txt:1: 'x+'… has more than 255 bytes"),
        (b"a.avi 1\r\nb.avi 2\r\na.avi 2\r\n", r"l\.txt:3: a\.avi has the tag 2, and 1 above"),
        (b"a.avi 1\na.avi 0\n", r"l\.txt:2: a\.avi has the tag 0, and 1 above"),
        (b"a.avi 1\nf\xeate.avi 2\n", r"l\.txt:2: not UTF-8 text; save the list as UTF-8"),
        (b"a.avi 1\rb.avi 1\rf\xeate.avi 2\r", r"l\.txt:3: not UTF-8 text"),
        ("a.avi 1\n".encode("utf-16"), r"l\.txt is UTF-16"),
        (b"a.avi 1\n".decode().encode("utf-16-le"), r"l\.txt:1: cannot read the line"),
        (bytes(range(256)), r"l\.txt:\d+: "),
        (b"1\n", r"l\.txt:1: cannot read the line '1'"),
    ],
)
def test_a_bad_list_is_one_line_that_names_the_place(tmp_path, data, line):
    (tmp_path / "l.txt").write_bytes(data)
    with pytest.raises(ActionRecError, match=line) as caught:
        read_list(tmp_path / "l.txt")
    assert "\n" not in str(caught.value)


def test_a_list_that_is_a_folder_is_named(tmp_path):
    with pytest.raises(ActionRecError, match="cannot read the list"):
        read_list(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends_of_any_kind_are_taken(tmp_path, end):
    text = end.join(["\ufeffa.avi 1 ", "", "\ufeffb c's.avi 2", "ü\u2028\x85.avi 0", ""])
    (tmp_path / "l.txt").write_bytes(text.encode())
    assert read_list(tmp_path / "l.txt") == {"a.avi": "1", "b c's.avi": "2", "ü\u2028\x85.avi": "0"}


def test_a_name_that_comes_twice_counts_once_with_a_word(tmp_path, caplog):
    (tmp_path / "l.txt").write_text("a.avi 1\nb.avi 2\na.avi 1\n")
    assert read_list(tmp_path / "l.txt") == {"a.avi": "1", "b.avi": "2"}
    assert "names 1 clips twice (first: a.avi)" in caplog.text


def test_hidden_files_and_other_splits_are_no_lists(tmp_path):
    write_splits(tmp_path, {"clap": {"a.avi": 1}}, splits=(1, 11))
    (tmp_path / "._clap_test_split1.txt").write_bytes(b"\0")
    (tmp_path / "_test_split1.txt").touch()
    assert actions_in(tmp_path, 1) == ("clap",)


def test_a_source_video_of_one_action_on_both_sides_is_told(tmp_path, caplog):
    tags = {action: clips_of(action, 15) for action in ("clap", "wave")}
    shared = "film0_wave_f_cm_np1_fr_med_9.avi"
    index(*lay_out(tmp_path / "right", tags), split=1, actions="all")
    assert "of one action in both" not in caplog.text
    index(*lay_out(tmp_path / "leaks", {**tags, "wave": {**tags["wave"], shared: 2}}), split=1, actions="all")
    assert "1 source videos with clips of one action in both train and test (first: film0 of wave)" in caplog.text


def test_random_lists_are_read_right_or_are_one_line(tmp_path):
    """For any bytes, the result is one tag per plain name, or an error of one line that names the file."""
    path = tmp_path / "l.txt"
    name = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(["../a", "/a", "a" * 300])
    line = st.tuples(name, st.sampled_from([" 0", " 1", " 2", " 3", "", "  1 "])).map("".join)
    text = st.tuples(st.lists(line, max_size=5), st.sampled_from(["\n", "\r\n", "\r"])).map(
        lambda it: it[1].join(it[0])
    )
    data = st.tuples(text, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])).map(
        lambda it: it[0].encode(it[1])
    )

    @settings(max_examples=150, deadline=None)
    @given(data | st.binary(max_size=40))
    def holds(data):
        path.write_bytes(data)
        tags, refusal = attempt(read_list, path)
        assert not refusal or str(path) in refusal
        if not refusal:
            assert set(tags.values()) <= {"0", "1", "2"}
            assert all(Path(name).name == name and len(name.encode()) <= 255 for name in tags)
            lines = [line for line in re.split("\r\n|\r|\n", data.decode()) if line.lstrip("\ufeff").strip()]
            assert len(set(lines)) >= len(tags)
            assert all(any(name in line for line in lines) for name in tags)

    holds()


def test_random_sides_are_indexed_right_or_are_one_line(tmp_path):
    """The tag decides the part of a clip, in any order and with any repetition of the lines."""
    names = [f"film{source}_{{}}_f_{clip}.avi" for source in range(8) for clip in range(2)]
    for action in ("clap", "wave"):
        (tmp_path / "videos" / action).mkdir(parents=True)
        for each in names:
            (tmp_path / "videos" / action / each.format(action)).touch()
    (tmp_path / "splits").mkdir()
    listed = st.lists(st.tuples(st.integers(0, 15), st.sampled_from("0112")), min_size=10, max_size=30)

    @settings(max_examples=40, deadline=None)
    @given(listed, listed)
    def holds(clap, wave):
        wanted: dict[str, set[str]] = {}
        for action, lines in (("clap", clap), ("wave", wave)):
            lines = [(names[number].format(action), tag) for number, tag in lines]
            text = "".join(f"{each} {tag}\n" for each, tag in lines)
            (tmp_path / f"splits/{action}_test_split1.txt").write_text(text)
            for each, tag in lines:
                wanted.setdefault(each, set()).add(tag)
        indexed, refusal = attempt(index, tmp_path / "videos", tmp_path / "splits", 1, "all")
        assert ("above" in refusal) == any(len(tags) > 1 for tags in wanted.values())
        if refusal:
            return
        splits = indexed[1]
        found = {clip.path.name: part for part, clips in splits._asdict().items() for clip in clips}
        assert found.keys() == {each for each, tags in wanted.items() if tags != {"0"}}
        assert all((part == "test") == (wanted[each] == {"2"}) for each, part in found.items())

    holds()


@needs(JHMDB_LISTS)
@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_lists_of_jhmdb_are_read(split):
    actions = actions_in(JHMDB_LISTS, split)
    assert len(actions) == 21
    tags = [read_list(JHMDB_LISTS / f"{action}_test_split{split}.txt") for action in actions]
    assert sum(tag in "12" for each in tags for tag in each.values()) == 928


@needs(REAL_LISTS)
@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_official_lists_are_seventy_thirty(split):
    lists = sorted(REAL_LISTS.glob(f"*_test_split{split}.txt"))
    assert len(lists) == 51
    for path in lists:
        action = path.name.removesuffix(f"_test_split{split}.txt")
        tags = read_list(path)
        assert [list(tags.values()).count(tag) for tag in "12"] == [70, 30]
        sources = [{source_of(name, action) for name, t in tags.items() if t == tag} for tag in "12"]
        assert not sources[0] & sources[1]
