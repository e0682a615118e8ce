import zipfile
from pathlib import Path

import pytest

from actionrec.datasets import install
from actionrec.datasets.hmdb51 import tagged_clips
from actionrec.datasets.jhmdb import JHMDB
from actionrec.system.errors import ActionRecError
from tests.conftest import write_splits
from tests.real_data import SAMPLES, needs

REAL_LISTS = SAMPLES / "jhmdb" / "splits"
TAGS = {
    action: {f"film{source}_{action}_u_cm_np1_fr_med_{n}.avi": 1 + source // 8 for source in range(10) for n in (0, 1)}
    for action in ("kick_ball", "wave")
}


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """The two published archives, with the extra files of macOS."""
    write_splits(tmp_path / "splits", TAGS, splits=(1, 2, 3))
    folder = tmp_path / "archives"
    folder.mkdir()
    with zipfile.ZipFile(folder / "JHMDB_video.zip", "w") as file:
        for action, names in TAGS.items():
            for name in names:
                file.writestr(f"ReCompress_Videos/{action}/{name}", name)
                file.writestr(f"__MACOSX/ReCompress_Videos/{action}/._{name}", "junk")
        file.writestr("ReCompress_Videos/.DS_Store", "junk")
    with zipfile.ZipFile(folder / "splits.zip", "w") as file:
        for path in (tmp_path / "splits").iterdir():
            file.write(path, f"splits/{path.name}")
            file.writestr(f"splits/._{path.name}", b"\0")
    with zipfile.ZipFile(folder / "sub_splits.zip", "w") as file:  # lies beside them on the authors' page
        file.writestr("sub_splits/wave_test_split1.txt", "film0_wave_u_cm_np1_fr_med_0.avi 1\n")
    return folder


def test_the_authors_archives_are_installed(archives, tmp_path):
    numbers = {f"split {split}, {part}": number for split in (1, 2, 3) for part, number in (("train", 32), ("test", 8))}
    places = tmp_path / "out/videos", tmp_path / "out/splits"
    found = install.clips(
        JHMDB.release._replace(official=numbers), [archives], [archives], *places, tmp_path / "downloads"
    )
    assert found.lists == {key: (number, number) for key, number in numbers.items()}
    assert (found.files, found.missing, found.unlisted) == (40, (), ())
    data = JHMDB("jhmdb", *places, split=2)
    actions, splits = data.index("all")
    assert (actions, len(splits.test)) == (("kick_ball", "wave"), 8)
    assert len(data.clips("all")) == 40
    with pytest.raises(ActionRecError, match="names 32 files, officially 660"):
        install.clips(JHMDB.release, [archives], [archives], *places, tmp_path / "downloads")


def test_its_settings_are_named(archives, tmp_path):
    with pytest.raises(ActionRecError, match=r"dataset\.videos=.*is not a folder"):
        JHMDB("jhmdb", tmp_path / "none", tmp_path / "splits", 1).index("all")
    with pytest.raises(ActionRecError, match=r"no clips of .* under .*dataset\.videos and"):
        JHMDB("jhmdb", tmp_path, tmp_path / "splits", 1).clips("all")


@needs(REAL_LISTS)
def test_the_official_numbers_are_those_of_the_lists():
    listed = tagged_clips({path.name: path for path in REAL_LISTS.glob(JHMDB.release.lists[0])})
    assert {key: len(names) for key, names in listed.items()} == JHMDB.release.official
