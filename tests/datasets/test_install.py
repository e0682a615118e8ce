import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from actionrec.datasets import archives, install
from actionrec.datasets import hmdb51 as hmdb51_lists
from actionrec.datasets.download import Address
from actionrec.datasets.install import stanford40
from actionrec.system.errors import ActionRecError
from tests.conftest import raise_error

FAKE_UNRAR = "import sys, zipfile; zipfile.ZipFile(sys.argv[-1]).extractall()"


def tree(folder: Path) -> dict[str, int]:
    """Files and their inodes."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def pack(archive: Path, folder: Path, prefix: str = "", head: bytes = b"") -> Path:
    """A zip of a folder with the extra files of macOS; with `head`, a rar for the fake unrar."""
    archive.write_bytes(head)
    with zipfile.ZipFile(archive, "a") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{prefix}{path.relative_to(folder)}"
            file.write(path, name)
            file.writestr(f"__MACOSX/{Path(name).parent}/._{path.name}", b"junk")
        file.writestr(f"{prefix}.DS_Store", b"junk")
    return archive


@pytest.fixture
def stanford(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three images of two actions, the whole data set for this test."""
    monkeypatch.setattr(install, "STANFORD40", {"train": 2, "test": 1})
    lists = {"train": ["applauding_001.jpg", "riding_a_bike_001.jpg"], "test": ["applauding_002.jpg"]}
    for name in ("JPEGImages", "ImageSplits"):
        (tmp_path / "have" / name).mkdir(parents=True)
    for part, names in lists.items():
        (tmp_path / f"have/ImageSplits/{part}.txt").write_bytes("".join(f"{name}\r\n" for name in names).encode())
        for name in names:
            (tmp_path / "have/JPEGImages" / name).write_bytes(name.encode())
    return tmp_path / "have"


STANFORD40_FOUND = install.Found(3, {"clap": 2, "ride_bike": 1}, {"test": (1, 1), "train": (2, 2)}, (), ())


@pytest.mark.parametrize("form", ["folder", "nested", "parts", "zip", "zips", "folder of zips", "addresses"])
def test_stanford40_from(form: str, stanford: Path, tmp_path: Path) -> None:
    packed, target, downloads = tmp_path / "packed", tmp_path / "data/stanford40", tmp_path / "downloads"
    packed.mkdir()
    before = tree(stanford)
    if form == "zip":
        sources = [pack(packed / "all.zip", stanford, "a/b/")]
    elif form in ("folder", "nested", "parts"):
        parts = [stanford / "JPEGImages", stanford / "ImageSplits"]
        sources = {"folder": [stanford], "nested": [tmp_path], "parts": parts}[form]
    else:
        names = ("JPEGImages", "ImageSplits")
        zips = [pack(packed / f"Stanford40_{name}.zip", stanford / name, f"{name}/") for name in names]
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in zips]
        addresses = [Address(path.as_uri(), path.stat().st_size, sha) for path, sha in zip(zips, hashes, strict=True)]
        sources = {"zips": zips, "folder of zips": [packed], "addresses": addresses}[form]
    assert stanford40(sources, target, downloads) == STANFORD40_FOUND
    after = tree(target)
    assert after.keys() == before.keys()
    assert (after == before) == (form in ("folder", "nested", "parts")), "files on one disk are linked"
    assert tree(stanford) == before
    assert [path.name for path in target.parent.iterdir()] == ["stanford40"]
    assert {path.name for path in target.iterdir()} == {"JPEGImages", "ImageSplits"}
    assert stanford40([], target, downloads) == STANFORD40_FOUND
    assert tree(target) == after


def test_stanford40_in_place(stanford: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    assert stanford40([stanford], stanford, tmp_path / "downloads") == STANFORD40_FOUND
    assert tree(tmp_path) == before


def test_stanford40_fills_what_is_absent(stanford: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (stanford / "JPEGImages").rename(tmp_path / "data/JPEGImages")
    assert stanford40([stanford], tmp_path / "data", tmp_path / "downloads") == STANFORD40_FOUND


def test_stanford40_incomplete(stanford: Path, tmp_path: Path) -> None:
    target, other, downloads = tmp_path / "data", tmp_path / "other", tmp_path / "downloads"
    (stanford / "JPEGImages/applauding_002.jpg").rename(stanford / "JPEGImages/applauding_003.jpg")
    with pytest.raises(ActionRecError, match=r"1 listed files are missing \(applauding_002.jpg\), 3 are present; give"):
        stanford40([stanford], target, downloads)
    assert not target.exists()
    found = stanford40([stanford], target, downloads, expect_complete=False)
    assert found.lists == {"test": (1, 0), "train": (2, 2)}
    assert (found.missing, found.unlisted) == (("applauding_002.jpg",), ("applauding_003.jpg",))
    (stanford / "ImageSplits/test.txt").write_text("")
    with pytest.raises(ActionRecError, match="test names 0 files, officially 1; get the official lists"):
        stanford40([stanford], other, downloads)
    (stanford / "ImageSplits/test.txt").unlink()
    with pytest.raises(ActionRecError, match=r"ImageSplits lacks test.txt"):
        stanford40([stanford], other, downloads, expect_complete=False)
    with pytest.raises(ActionRecError, match=r"the sources have no files for .*JPEGImages/\*.jpg"):
        stanford40([stanford / "ImageSplits"], other, downloads)
    with pytest.raises(ActionRecError, match="no download address is known"):
        stanford40([], other, downloads)
    assert not other.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device", "x")])
def test_stanford40_interrupted(
    stanford: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(os, "link", raise_error(OSError()))
    monkeypatch.setattr(shutil, "copyfile", raise_error(error))
    with pytest.raises((KeyboardInterrupt, ActionRecError), match=r"^$|cannot fill .* No space left"):
        stanford40([pack(tmp_path / "a.zip", stanford)], tmp_path / "data/set", tmp_path / "downloads")
    assert tree(tmp_path / "data") == {}
    assert [path.name for path in tmp_path.rglob(".*")] == []


def hmdb51(*places: object, **options: bool) -> install.Found:
    """Install HMDB51, with `hmdb` as the complete data set."""
    numbers = {"split 1, train": 2, "split 1, test": 1, "split 1, unused": 1, "split 2, test": 2}
    return install.clips(hmdb51_lists.RELEASE._replace(official=numbers), *places, **options)


@pytest.fixture
def hmdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `videos` and `splits` of two actions and two splits, the whole data set for this test."""
    (tmp_path / "have/splits").mkdir(parents=True)
    for action, tags in {"clap": ("12", "22"), "shoot_bow": ("10", "00")}.items():
        names = [f"#20 R!(a)_{action}_b's@é_{number}.avi" for number in (0, 1)]
        (tmp_path / "have/videos" / action).mkdir(parents=True)
        for name in names:
            (tmp_path / "have/videos" / action / name).write_bytes(name.encode())
        for split, pair in enumerate(tags, 1):
            lines = [f"{name} {tag} \n" for name, tag in zip(names, pair, strict=True)]
            (tmp_path / f"have/splits/{action}_test_split{split}.txt").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/unrar").write_text(f"#!{sys.executable} -IS\n{FAKE_UNRAR}")
    (tmp_path / "bin/unrar").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "have"


@pytest.mark.parametrize("form", ["folder", "nested", "zip", "rars", "rars deeper", "rar in rar", "bare rars"])
def test_hmdb51_from(form: str, hmdb: Path, tmp_path: Path) -> None:
    packed, downloads = tmp_path / "packed", tmp_path / "downloads"
    (packed / "hmdb51_org").mkdir(parents=True)
    videos, rar, splits = hmdb / "videos", b"Rar!\x1a\x07\x00", [hmdb / "splits"]
    before = tree(videos)
    if form == "zip":
        sources = [pack(packed / "mirror.zip", videos, "hmdb51/")]
    elif form in ("folder", "nested"):
        sources = [videos if form == "folder" else tmp_path]
    else:
        for action in ("clap", "shoot_bow"):
            prefix = "" if form == "bare rars" else f"{action}/"
            pack(packed / f"hmdb51_org/{action}.rar", videos / action, prefix, rar)
        sources = [packed if form == "rars deeper" else packed / "hmdb51_org"]
        if form == "rar in rar":
            lists = pack(packed / "test_train_splits.rar", hmdb / "splits", "testTrainMulti_7030_splits/", rar)
            sources = splits = [pack(packed / "hmdb51_org.rar", packed / "hmdb51_org", "", rar), lists]
    target_videos, target_splits = tmp_path / "data/hmdb51", tmp_path / "data/hmdb51/splits"
    found = hmdb51(sources, splits, target_videos, target_splits, downloads)
    numbers = {"split 1, test": 1, "split 1, train": 2, "split 1, unused": 1, "split 2, test": 2, "split 2, unused": 2}
    assert found.lists == {key: (number, number) for key, number in numbers.items()}
    assert (found.files, found.actions, found.missing) == (4, {"clap": 2, "shoot_bow": 2}, ())
    after = tree(target_videos)
    assert after.keys() == before.keys() | {f"splits/{path.name}" for path in (hmdb / "splits").iterdir()}
    assert [path.name for path in target_videos.parent.iterdir()] == ["hmdb51"]
    assert hmdb51([], [], target_videos, target_splits, downloads) == found
    assert tree(target_videos) == after


def test_hmdb51_takes_one_folder_for_both_and_ignores_other_sets(hmdb: Path, tmp_path: Path) -> None:
    (hmdb / "UCF101/Archery").mkdir(parents=True)
    (hmdb / "UCF101/Archery/v_Archery_g01.avi").touch()
    found = hmdb51([hmdb], [hmdb], tmp_path / "videos", tmp_path / "splits", tmp_path / "downloads")
    assert (found.files, found.unlisted) == (4, ())


def test_hmdb51_refuses_two_versions_of_a_clip(hmdb: Path, tmp_path: Path) -> None:
    small = shutil.copytree(hmdb / "videos", hmdb / "small")
    hmdb51([hmdb], [hmdb], tmp_path / "same", tmp_path / "splits", tmp_path / "downloads")
    next(small.rglob("*_0.avi")).write_bytes(b"")
    with pytest.raises(ActionRecError, match="two different files of one name"):
        hmdb51([hmdb], [hmdb], tmp_path / "videos", tmp_path / "splits", tmp_path / "downloads")


def test_hmdb51_incomplete(hmdb: Path, tmp_path: Path) -> None:
    shutil.rmtree(hmdb / "videos/clap")
    targets = tmp_path / "videos", tmp_path / "splits", tmp_path / "downloads"
    with pytest.raises(
        ActionRecError, match=r"2 listed files are missing \(clap/#20 .*_0.avi, clap/.*\), 2 are present"
    ):
        hmdb51([hmdb], [hmdb], *targets)
    assert not any(target.exists() for target in targets)
    found = hmdb51([hmdb], [hmdb], *targets, expect_complete=False)
    assert (found.actions, len(found.missing), found.lists["split 1, train"]) == ({"shoot_bow": 2}, 2, (2, 1))


@pytest.mark.parametrize("name", ["thesis.txt", "notes/thesis.txt", ".hidden"])
def test_a_folder_of_something_else_is_neither_replaced_nor_added_to(hmdb: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "mine"
    (target / name).parent.mkdir(parents=True)
    (target / name).write_text("mine")
    for folders in ((target, tmp_path / "splits"), (tmp_path / "videos", target)):
        with pytest.raises(ActionRecError, match=f"{target} exists and is not an empty folder"):
            hmdb51([hmdb], [hmdb], *folders, tmp_path / "downloads")
        assert list(tree(target)) == [name]
        assert not any(folder.exists() for folder in folders if folder != target)


def test_what_a_killed_preparation_left_of_the_places_is_removed(stanford: Path, tmp_path: Path) -> None:
    target = tmp_path / "data/set"
    left = [tmp_path / "data/.set-01234567", target / ".JPEGImages-01234567", target / ".ImageSplits-01234567"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / archives.MARK).touch()
    assert stanford40([stanford], target, tmp_path / "downloads") == STANFORD40_FOUND
    assert not any(folder.exists() for folder in left)


def test_own_files_beside_the_data_set_stay(stanford: Path, tmp_path: Path) -> None:
    (stanford / "thesis.txt").write_text("mine")
    (stanford / "JPEGImages/thesis.txt").write_text("mine")
    before = tree(stanford)
    stanford40([], stanford, tmp_path / "downloads")
    assert tree(stanford) == before


def test_place_links_or_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("1")
    install.place({"clap/a": tmp_path / "a"}, tmp_path / "linked")
    assert (tmp_path / "linked/clap/a").samefile(tmp_path / "a")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    install.place({"clap/a": tmp_path / "a"}, tmp_path / "copied")
    assert not (tmp_path / "copied/clap/a").samefile(tmp_path / "a")
    assert (tmp_path / "copied/clap/a").read_text() == "1"
    with pytest.raises(ActionRecError, match=r"cannot fill .*: No such file"):
        install.place({"a": tmp_path / "a", "b": tmp_path / "absent"}, tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_count_and_few() -> None:
    lists = {"train": ["clap/a", "clap/b"], "test": ["wave/c", "wave/d"]}
    found = install.count(["clap/a", "wave/c", "wave/x"], lists, lambda name: name.partition("/")[0])
    assert found == (3, {"clap": 1, "wave": 2}, {"test": (2, 1), "train": (2, 1)}, ("clap/b", "wave/d"), ("wave/x",))
    assert install.few(["a", "b"]) == "a, b"
    assert install.few([*"abcdefgh"]) == "a, b, c and 5 more"
