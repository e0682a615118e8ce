from pathlib import Path

import pytest
from sklearn.model_selection import train_test_split

from actionrec.datasets.stanford40 import action_of, index, read_list
from actionrec.errors import ActionRecError

REAL = Path(__file__).parents[3] / "shared" / "data" / "stanford40"


@pytest.fixture
def root(tmp_path):
    """20 training and 10 test images of three actions, listed with CRLF beside a fourth that is not on disk."""
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "ImageSplits").mkdir()
    for part, numbers in (("train", range(1, 21)), ("test", range(21, 31))):
        names = [f"{action}_{n:03}.jpg" for action in ("applauding", "riding_a_bike", "cooking") for n in numbers]
        for name in names:
            (tmp_path / "JPEGImages" / name).touch()
        (tmp_path / "ImageSplits" / f"{part}.txt").write_bytes("\r\n".join([*names, "phoning_001.jpg", ""]).encode())
    return tmp_path


def test_names_are_canonical():
    assert action_of("riding_a_bike_012.jpg") == "ride_bike"
    assert action_of("cooking_001.jpg") == "cooking"


def test_official_keeps_the_lists_and_holds_out_a_fifth(root):
    actions, splits = index(root, ["clap", "ride_bike", "cooking"])
    assert actions == ("clap", "ride_bike", "cooking")
    assert [len(part) for part in splits] == [48, 12, 30]
    assert all(sum(still.action == action for still in splits.val) == 4 for action in actions)
    names = read_list(root / "ImageSplits" / "train.txt")
    assert {still.path.name for still in splits.train + splits.val} == {n for n in names if "phoning" not in n}
    paths = [still.path for part in splits for still in part]
    assert len(paths) == len(set(paths))


def test_pooled_is_the_reference_projects_draw(root):
    _, splits = index(root, ["clap", "ride_bike"], protocol="pooled")
    names = [
        name
        for part in ("train", "test")
        for name in read_list(root / "ImageSplits" / f"{part}.txt")
        if action_of(name) in ("clap", "ride_bike")
    ]
    kept, test = train_test_split(names, test_size=0.1, random_state=0, stratify=[action_of(n) for n in names])
    train, val = train_test_split(kept, test_size=0.2, random_state=42, stratify=[action_of(n) for n in kept])
    assert [[still.path.name for still in part] for part in splits] == [train, val, test]


def test_what_is_listed_but_missing_is_an_error_unless_asked_for(root, caplog):
    (root / "JPEGImages" / "applauding_003.jpg").unlink()
    with pytest.raises(ActionRecError, match=r"1 of the 40 images.*applauding_003\.jpg.*data\.strict=false"):
        index(root, ["clap", "ride_bike"])
    _, splits = index(root, ["clap", "ride_bike"], strict=False)
    assert sum(len(part) for part in splits) == 59
    assert "1 of the 40 images" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": "shared"}, "no action climb"),
        ({"actions": ["clap", "cooking"], "protocol": "mine"}, "use official or pooled"),
        ({"actions": ["clap", "phoning"], "strict": False}, "phoning"),
    ],
)
def test_bad_settings_are_refused(root, options, message):
    with pytest.raises(ActionRecError, match=message):
        index(root, **options)


def test_a_missing_folder_or_list_is_named(root):
    with pytest.raises(ActionRecError, match=r"paths\.stanford40="):
        index(root / "nowhere", "shared")
    (root / "ImageSplits" / "test.txt").unlink()
    with pytest.raises(ActionRecError, match=r"test\.txt is missing"):
        index(root, "shared")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real stills are not beside the checkout")
@pytest.mark.parametrize(("protocol", "sizes"), [("official", [960, 240, 1837]), ("pooled", [2186, 547, 304])])
def test_the_real_stills_split_as_published(protocol, sizes):
    assert [len(part) for part in index(REAL, "shared", protocol)[1]] == sizes
