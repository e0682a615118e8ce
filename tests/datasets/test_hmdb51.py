from pathlib import Path

import pytest

from actionrec.datasets.hmdb51 import carve_validation, index, read_list, source_of
from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from tests.conftest import write_splits

REAL_LISTS = Path(__file__).parents[3] / "shared" / "data" / "hmdb51_splits"


def lay_out(root: Path, tags: dict[str, dict[str, int]], on_disk: bool = True) -> tuple[Path, Path]:
    write_splits(root / "splits", tags)
    for action, names in tags.items():
        (root / "videos" / action).mkdir(parents=True)
        for name in names if on_disk else ():
            (root / "videos" / action / name).touch()
    return root / "videos", root / "splits"


def clips_of(action: str, sources: int, each: int = 2) -> dict[str, int]:
    """Two thirds of the sources train, the rest test, and one unused clip."""
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


def test_a_source_seen_in_two_actions_stays_on_one_side():
    clips = [Clip(Path(f"{a}{s}{n}"), a, f"s{s}") for a in ("clap", "wave") for s in range(10) for n in range(3)]
    train, val = carve_validation(clips)
    assert not {clip.group for clip in train} & {clip.group for clip in val}
    assert len(train) + len(val) == len(clips)


def test_too_few_sources_to_hold_out_are_refused():
    with pytest.raises(ActionRecError, match="4 source videos, too few"):
        carve_validation([Clip(Path(f"{s}{n}"), "clap", f"s{s}") for s in range(4) for n in range(9)])


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


def test_an_action_without_clips_is_named(tmp_path):
    tags = {"clap": clips_of("clap", 15), "wave": clips_of("wave", 15)}
    videos, lists = lay_out(tmp_path, tags)
    for path in (videos / "wave").iterdir():
        path.unlink()
    with pytest.raises(ActionRecError, match="no clips to train wave on"):
        index(videos, lists, 1, "all", strict=False)
    with pytest.raises(ActionRecError, match="no action clap"):
        index(videos, lists, 2, ["clap", "wave"])  # split 2 has no lists
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


@pytest.mark.skipif(not REAL_LISTS.is_dir(), reason="the official lists are not beside the checkout")
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
