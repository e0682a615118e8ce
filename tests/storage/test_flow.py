import contextlib
import json
import zipfile

import cv2
import numpy as np
import pytest

from actionrec.datasets.records import Clip
from actionrec.storage import flow as store
from actionrec.storage import pictures as picture_zip
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.system.errors import ActionRecError
from tests.conftest import noise_video

SETTINGS = FlowSettings("dis", {"preset": "ultrafast"})


@pytest.fixture
def clip(tmp_path) -> Clip:
    name = "#b (c)!_wave_2"
    return Clip(noise_video(tmp_path / "videos" / "wave" / f"{name}.avi", 6), "wave", name)


@pytest.fixture
def path(tmp_path, clip):
    return clip_path(tmp_path / "flow", clip)


def smooth_fields(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.stack([cv2.resize(rng.integers(60, 200, (6, 8), np.uint8), (64, 48)) for _ in "xy"]) for _ in range(n)]


def test_what_is_written_is_read_back(path, clip):
    written = smooth_fields(5)
    store.write(path, clip, written, SETTINGS)
    header = store.check_settings(path, SETTINGS)
    assert (header.fields, header.height, header.width) == (5, 48, 64)
    read = store.read_fields(path, [3, 0]).astype(int)
    assert read.shape == (2, 2, 48, 64)
    error = np.abs(read - np.stack([written[3], written[0]]))
    assert error.mean() < 0.5  # codes, of JPEG
    assert error.max() <= 6


def test_rest_stays_rest(path, clip):
    store.write(path, clip, [np.full((2, 48, 64), 128, np.uint8)], SETTINGS)
    assert (store.read_fields(path, [0]) == 128).all()


def test_the_same_fields_give_the_same_bytes_whenever(path, clip, monkeypatch):
    store.write(path, clip, smooth_fields(2), SETTINGS)
    first = path.read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    store.write(path, clip, smooth_fields(2), SETTINGS)
    assert path.read_bytes() == first


def test_an_error_half_way_leaves_no_file(path, clip):
    def broken():
        yield from smooth_fields(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(path, clip, broken(), SETTINGS)
    assert not any(path.parent.iterdir())


def test_other_settings_are_refused_with_both_named(path, clip):
    store.write(path, clip, smooth_fields(2), SETTINGS)
    for other, named in (
        (FlowSettings("dis", {"preset": "ultrafast"}, 15.0), r"dis\(preset=ultrafast\) bound=15"),
        (FlowSettings("tvl1"), r"tvl1\(\) bound=20"),
        (FlowSettings("dis", {"preset": "ultrafast"}, short_side=128), "short_side=128"),
    ):
        for check in (store.check_settings, lambda path, wanted: store.is_complete(path, clip, wanted)):
            with pytest.raises(ActionRecError, match=rf"dis\(preset=ultrafast\) bound=20, .*asks for .*{named}"):
                check(path, other)


@pytest.mark.parametrize("settings", [{"bound": 0}, {"bound": None}, {"short_side": 3}])
def test_settings_that_make_no_sense_are_named(settings):
    with pytest.raises(ActionRecError, match=f"flow.{next(iter(settings))}="):
        FlowSettings("dis", **settings)


def test_missing_damaged_and_short_files_are_named(path, clip):
    with pytest.raises(ActionRecError, match=r"extract the flow with actionrec extract_flow"):
        store.read_fields(path, [0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no zip")
    with pytest.raises(ActionRecError, match="damaged"):
        store.read_header(path)
    store.write(path, clip, smooth_fields(2), SETTINGS)
    with pytest.raises(ActionRecError, match="no readable picture 2"):
        store.read_fields(path, [2])


def rewrite(path, change) -> None:
    """Replace each entry of a stored clip by `change(name, data)`; an entry for which that is None is removed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)


def shrink(name: str, data: bytes) -> bytes:
    return picture_zip.encode(np.full((20, 10), 128, np.uint8)) if name == "00001.jpg" else data


def of_another_format(name: str, data: bytes) -> bytes:
    return json.dumps({**json.loads(data), "format": 1}).encode() if name == "header.json" else data


@pytest.mark.parametrize(
    ("change", "complete", "says"),
    [
        (lambda name, data: data, True, None),
        (lambda name, data: None if name == "00001.jpg" else data, True, "no readable picture 1"),
        (lambda name, data: b"" if name == "00001.jpg" else data, True, "no readable picture 1"),
        (lambda name, data: b"no jpeg" if name == "00002.jpg" else data, False, "no readable picture 2"),
        (shrink, True, "field 1 has another size"),
        (lambda name, data: None if name == "header.json" else data, False, "no readable header"),
        (of_another_format, False, "no readable header"),
    ],
)
def test_verify_reads_all_and_names_what_is_wrong(path, clip, change, complete, says):
    """`is_complete` reads the header and the last field only, for speed."""
    store.write(path, clip, smooth_fields(3), SETTINGS)
    rewrite(path, change)
    assert store.is_complete(path, clip, SETTINGS) == complete
    if says is None:
        assert store.verify(path, clip, SETTINGS) == 3
        return
    with pytest.raises(ActionRecError, match=says):
        store.verify(path, clip, SETTINGS)


def test_flow_of_another_file_of_that_name_is_not_complete(path, clip):
    store.write(path, clip, smooth_fields(2), SETTINGS)
    data = bytearray(clip.path.read_bytes())
    data[-1] ^= 1  # of the same size
    clip.path.write_bytes(data)
    assert not store.is_complete(path, clip, SETTINGS)
    with pytest.raises(ActionRecError, match="extracted from another"):
        store.verify(path, clip, SETTINGS)


def test_a_field_is_found_without_reading_the_rest(path, clip):
    """The bytes of all other fields are erased; a rewritten file is not read with the old file's index."""
    store.write(path, clip, smooth_fields(40), SETTINGS)
    whole = store.read_fields(path, range(20, 24))
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    data = bytearray(path.read_bytes())
    start, end = entries[20].header_offset, entries[24].header_offset
    data[:start] = bytes(start)
    data[end : entries[-1].header_offset] = bytes(entries[-1].header_offset - end)
    path.write_bytes(data)
    assert (store.read_fields(path, range(20, 24)) == whole).all()
    for other in (19, 24):
        with pytest.raises(ActionRecError, match=f"no readable picture {other}"):
            store.read_fields(path, [other])
    store.write(path, clip, smooth_fields(2), SETTINGS)
    with pytest.raises(ActionRecError, match="no readable picture 20"):
        store.read_fields(path, [20])


@pytest.mark.parametrize("offset", [6, 7, 8, 10, 11, 24, 28, 42, 46, 50], ids=lambda offset: f"byte{offset}")
@pytest.mark.parametrize("entry", [0, -1], ids=["picture", "header"])
def test_flipped_bytes_of_the_directory_are_named(path, clip, entry, offset):
    """zipfile raises different exceptions for version, flags, method, size, name length, offset and name."""
    store.write(path, clip, smooth_fields(3), SETTINGS)
    whole = path.read_bytes()
    start = [index for index in range(len(whole)) if whole.startswith(b"PK\x01\x02", index)][entry]
    for value in (1, 99, 255):
        data = bytearray(whole)
        data[start + offset] ^= value
        path.write_bytes(data)
        for check in (store.verify, store.check_settings):
            with contextlib.suppress(ActionRecError):
                check(path, *([clip, SETTINGS] if check is store.verify else [SETTINGS]))


@pytest.mark.parametrize(
    "values",
    [
        [1],
        {"fields": "3"},
        {"fields": 0},
        {"height": 2.5},
        {"width": None},
        {"source_bytes": -1},
        {"source_sha256": 7},
        {"settings": []},
        {"settings": {"bound": 20.0}},
        {"settings": {"algorithm": "dis", "bound": float("nan")}},
        {"settings": {"algorithm": "dis", "params": {"preset": {"_target_": "os.mkdir"}}}},
        {"settings": {"algorithm": "dis", "more": 1}},
        {"more": 1},
    ],
)
def test_headers_of_other_values_are_refused(path, clip, values):
    def forge(name: str, data: bytes) -> bytes:
        if name != "header.json":
            return data
        return json.dumps({**json.loads(data), **values} if isinstance(values, dict) else values).encode()

    store.write(path, clip, smooth_fields(2), SETTINGS)
    rewrite(path, forge)
    with pytest.raises(ActionRecError, match=r"has no readable header \([^\n]*$"):
        store.read_header(path)


def test_a_header_that_unpacks_to_more_than_headers_take_is_not_read(path, clip):
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", bytes(1 << 26))
    with pytest.raises(ActionRecError, match="too large"):
        store.read_header(path)


@pytest.mark.parametrize("name", ["x.jpg", "1.jpg", "-0001.jpg", "٣٣٣٣٣.jpg", "../00001.jpg", "00001.JPG", "00000.jpg"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_that_are_no_numbered_pictures_are_refused(path, clip, name):
    store.write(path, clip, smooth_fields(1), SETTINGS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ActionRecError, match="is damaged"):
        store.read_fields(path, [0])
