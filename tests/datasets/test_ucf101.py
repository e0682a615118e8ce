import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from actionrec.datasets import install
from actionrec.datasets.records import Clip
from actionrec.datasets.ucf101 import UCF101, listed_clips, read_classes, read_list, source_of
from actionrec.system.errors import ActionRecError

# The real set's one oddity: the files of HandstandPushups are called otherwise.
FILES = {"Archery": "v_Archery", "HandstandPushups": "v_HandStandPushups"}
LABELS = {"Archery": "1", "HandstandPushups": "2"}


def names_of(action: str, groups: range, each: int = 2) -> list[str]:
    return [f"{FILES[action]}_g{group:02}_c{clip:02}.avi" for group in groups for clip in range(1, each + 1)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two actions of ten sources, laid out as the two archives unpack; groups 1 and 2 are for the test of split 1."""
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(b"1 Archery\r\n2 HandstandPushups\r\n")
    for split in (1, 2, 3):
        test = range(2 * split - 1, 2 * split + 1)
        train = [group for group in range(1, 11) if group not in test]
        lines = [f"{a}/{name} {LABELS[a]}\r\n" for a in FILES for group in train for name in names_of(a, [group])]
        (lists / f"trainlist0{split}.txt").write_bytes("".join(lines).encode())
        lines = [f"{a}/{name}\r\n" for a in FILES for name in names_of(a, test)]
        (lists / f"testlist0{split}.txt").write_bytes("".join(lines).encode())
    for action in FILES:
        (tmp_path / "UCF-101" / action).mkdir(parents=True)
        for name in names_of(action, range(1, 11)):
            (tmp_path / "UCF-101" / action / name).write_bytes(name.encode())
    return tmp_path


def test_a_source_is_of_one_action():
    assert source_of("v_ApplyEyeMakeup_g08_c01.avi", "ApplyEyeMakeup") == "ApplyEyeMakeup_g08"
    assert source_of("v_Archery_g08_c01.avi", "Archery") == "Archery_g08"
    assert source_of("mine.avi", "Archery") == "mine"


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_lists_decide_the_sides_and_sources_stay_together(root, split):
    data = UCF101("ucf101", root / "UCF-101", root / "ucfTrainTestlist", split)
    actions, splits = data.index("all")
    assert actions == ("Archery", "HandstandPushups")
    wanted = {name for action in FILES for name in names_of(action, range(2 * split - 1, 2 * split + 1))}
    assert {clip.path.name for clip in splits.test} == wanted
    assert len(splits.train) + len(splits.val) == 32
    assert not {clip.group for clip in splits.train} & {clip.group for clip in splits.val + splits.test}
    assert all(clip.path.parent.name == clip.action and clip.group.startswith(clip.action) for clip in splits.test)


def test_the_places_may_be_the_folders_above(root):
    assert UCF101("ucf101", str(root), str(root), 1).index("all") == UCF101(
        "ucf101", root / "UCF-101", root / "ucfTrainTestlist", 1
    ).index("all")


def test_every_clip_on_disk_whatever_its_suffix(root):
    data = UCF101("ucf101", root, root, 1)
    extra = root / "UCF-101/Archery/v_Archery_g11_c01.MP4"
    extra.touch()
    extra.with_name("._v_Archery_g11_c01.avi").touch()
    extra.with_suffix(".txt").touch()
    clips = data.clips(["HandstandPushups", "Archery"])
    assert [clip.action for clip in clips] == ["HandstandPushups"] * 20 + ["Archery"] * 21
    assert Clip(extra, "Archery", "Archery_g11") in clips


def test_a_missing_clip_is_an_error_unless_asked_for(root):
    data = UCF101("ucf101", root, root, 1)
    (root / "UCF-101/Archery/v_Archery_g01_c01.avi").unlink()
    with pytest.raises(ActionRecError, match=r"1 of the 8 test clips of split 1.*first: v_Archery_g01_c01\.avi"):
        data.index("all")
    assert len(data.index("all", strict=False)[1].test) == 7


def test_what_is_wrong_is_named_with_its_setting(root, tmp_path):
    data = UCF101("ucf101", root / "UCF-101", root / "ucfTrainTestlist", 1)
    with pytest.raises(ActionRecError, match=r"dataset\.videos=.*is not a folder"):
        replace(data, videos=tmp_path / "none").index("all")
    with pytest.raises(ActionRecError, match=r"dataset\.splits=.*is not a folder"):
        replace(data, splits=tmp_path / "none").index("all")
    with pytest.raises(ActionRecError, match="split=4: there is no split 4 of UCF101; use 1, 2 or 3"):
        replace(data, split=4).index("all")
    with pytest.raises(ActionRecError, match=r"no action Archer; did you mean Archery\?"):
        data.index(["Archer", "HandstandPushups"])
    for path in root.glob("UCF-101/*/*"):
        path.unlink()
    with pytest.raises(ActionRecError, match=r"no clips of Archery, HandstandPushups under .*dataset\.videos"):
        data.clips("all")


@pytest.mark.parametrize(
    "line", ["Archery/a.avi 2", "Golf/a.avi 1", "a.avi 1", "Archery/ 1", "/a.avi 1", "Archery/../a.avi 1", "Archery"]
)
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "l.txt").write_text(f"Archery/v_Archery_g01_c01.avi 1\n{line}\n")
    with pytest.raises(ActionRecError, match=r"l\.txt:2: "):
        read_list(tmp_path / "l.txt", LABELS)


@pytest.mark.parametrize("line", ["Golf 2", "2", "2 Archery", "2 ../x"])
def test_a_class_that_is_none_is_named(tmp_path, line):
    (tmp_path / "c.txt").write_text(f"1 Archery\n{line}\n")
    with pytest.raises(ActionRecError, match=r"c\.txt:2: "):
        read_classes(tmp_path / "c.txt")


def test_lists_need_their_classes():
    with pytest.raises(ActionRecError, match=r"the lists lack classInd\.txt"):
        listed_clips({})


def pack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder.parent))
    return archive


@pytest.mark.parametrize("form", ["folder", "archives", "folder of archives"])
def test_it_is_installed(root, tmp_path_factory, form):
    place = tmp_path_factory.mktemp("data")
    archives = [
        pack(place / "UCF101.zip", root / "UCF-101"),
        pack(place / "UCF101TrainTestSplits-RecognitionTask.zip", root / "ucfTrainTestlist"),
    ]
    sources = {"folder": [root], "archives": archives, "folder of archives": [place]}[form]
    numbers = {f"split {split}, {part}": number for split in (1, 2, 3) for part, number in (("train", 32), ("test", 8))}
    release = UCF101.release._replace(official=numbers)
    videos, lists = place / "out/videos", place / "out/lists"
    found = install.clips(release, sources, sources, videos, lists, place / "downloads")
    assert found.lists == {key: (number, number) for key, number in numbers.items()}
    assert (found.files, found.missing, found.unlisted) == (40, (), ())
    assert len(UCF101("ucf101", videos, lists, 3).clips("all")) == 40
    assert install.clips(release, [], [], videos, lists, place / "downloads") == found
    with pytest.raises(ActionRecError, match="names 32 files, officially 9,537"):
        install.clips(UCF101.release, [], [], videos, lists, place / "downloads")


def test_the_official_set_has_13320_clips_in_every_split():
    official = UCF101.release.official
    assert {official[f"split {split}, train"] + official[f"split {split}, test"] for split in (1, 2, 3)} == {13_320}
