import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from actionrec.datasets.stanford40 import action_of, index, read_list
from actionrec.system.errors import ActionRecError
from tests.conftest import attempt
from tests.real_data import SAMPLES, needs

REAL = SAMPLES / "stanford40"


@pytest.fixture
def root(tmp_path):
    """20 training and 10 test images of three actions, listed with CRLF; a fourth listed action is not on disk."""
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


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"../other/clap_001.jpg\n", r"train\.txt:1: '\.\./other/clap_001\.jpg' is no plain file name"),
        (b"clap_001.jpg\n/etc/clap_1.jpg", r"train\.txt:2: .* is no plain file name"),
        (b"clap_" + b"1" * 300 + b".jpg", "has more than 255 bytes"),
        (b"clap_001.jpg\r\nf\xeate_1.jpg\r\n", r"train\.txt:2: not UTF-8 text"),
        ("clap_001.jpg\n".encode("utf-16"), r"train\.txt is UTF-16"),
        (b"photo.jpg\n", r"train\.txt:1: cannot read the line 'photo\.jpg'; each must be '<action>_<number>\.jpg'"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"train\.txt:1: "),
    ],
)
def test_a_bad_list_is_one_line_that_names_the_place(root, data, line):
    (root / "ImageSplits" / "train.txt").write_bytes(data)
    with pytest.raises(ActionRecError, match=line) as caught:
        index(root, ["clap", "ride_bike"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["official", "pooled"])
def test_an_image_is_on_one_side(root, protocol):
    lists = root / "ImageSplits"
    (lists / "train.txt").write_bytes(b"".join((lists / f"{part}.txt").read_bytes() for part in ("train", "test")))
    with pytest.raises(ActionRecError, match=r"20 images are in both train\.txt and test\.txt \(first: applauding_021"):
        index(root, ["clap", "ride_bike"], protocol)


def test_an_image_that_comes_twice_counts_once_with_a_word(root, caplog):
    once = index(root, ["clap", "ride_bike"])
    path = root / "ImageSplits" / "train.txt"
    path.write_bytes("\ufeff".encode() + path.read_bytes() * 2)
    assert index(root, ["clap", "ride_bike"]) == once
    assert "names 61 images twice" in caplog.text


def test_two_images_that_differ_by_their_suffix_are_refused(root):
    path = root / "ImageSplits" / "train.txt"
    path.write_bytes(path.read_bytes() + b"applauding_001.png\r\n")
    with pytest.raises(ActionRecError, match=r"applauding_001\.jpg and applauding_001\.png have one stem; rename"):
        index(root, ["clap", "ride_bike"])


def test_blanks_in_a_name_are_part_of_it(root):
    (root / "ImageSplits" / "train.txt").write_text("my dog_001.jpg \nmy dog_002.jpg\n")
    assert read_list(root / "ImageSplits" / "train.txt") == ["my dog_001.jpg", "my dog_002.jpg"]


def test_random_lists_are_indexed_right_or_are_one_line(root):
    names = [f"{action}_{n:03}.jpg" for action in ("applauding", "riding_a_bike") for n in range(1, 31)]
    listed = st.lists(st.sampled_from([*names, *names, *names, "../a_1.jpg", "a.jpg", ""]), min_size=5, max_size=40)

    @settings(max_examples=60, deadline=None)
    @given(listed, listed, st.sampled_from(["official", "pooled"]))
    def holds(train, test, protocol):
        for part, chosen in (("train", train), ("test", test)):
            (root / "ImageSplits" / f"{part}.txt").write_text("\r\n".join(chosen))
        indexed, refusal = attempt(index, root, ["clap", "ride_bike"], protocol)
        if refusal:
            return
        splits = indexed[1]
        found = [still.path.name for part in splits for still in part]
        assert sorted(found) == sorted({*train, *test} - {""})
        assert not set(train) & set(test) - {""}
        if protocol == "official":
            assert {still.path.name for still in splits.test} == set(test) - {""}

    holds()


@needs(REAL)
@pytest.mark.parametrize(("protocol", "sizes"), [("official", [960, 240, 1837]), ("pooled", [2186, 547, 304])])
def test_the_real_stills_split_as_published(protocol, sizes):
    assert [len(part) for part in index(REAL, "shared", protocol)[1]] == sizes
