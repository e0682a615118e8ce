import zipfile

import numpy as np
import pytest

from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from actionrec.flow import store
from actionrec.flow.extract import clip_fields, extract
from actionrec.flow.store import FlowSettings
from tests.conftest import noise_video

SETTINGS = FlowSettings("dis", {"preset": "ultrafast"})


@pytest.fixture
def clips(tmp_path):
    names = ["a_wave_1", "#b (c)!_wave_2", "c_wave_3"]
    return [
        Clip(noise_video(tmp_path / "videos" / "wave" / f"{name}.avi", 6, seed), "wave", name)
        for seed, name in enumerate(names)
    ]


def fields(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 48, 64, 2), np.uint8))


def test_what_is_written_is_read_back_exactly(tmp_path, clips):
    written = fields(5)
    path = store.flow_path(tmp_path, clips[1])
    store.write(path, clips[1], written, SETTINGS)
    header = store.check_settings(path, SETTINGS)
    assert (header.fields, header.height, header.width) == (5, 48, 64)
    assert (store.read_fields(path, [3, 0]) == np.stack([written[3], written[0]])).all()


def test_n_frames_give_n_minus_one_fields(clips):
    assert len(list(clip_fields(clips[0].path, SETTINGS))) == 5


def test_extraction_does_what_is_missing_and_says_so(tmp_path, clips):
    out = tmp_path / "flow"
    assert extract(clips, out, SETTINGS, workers=2)[:3] == (3, 15, 0)
    bytes_before = {path: path.read_bytes() for path in out.rglob("*.zip")}
    store.flow_path(out, clips[0]).unlink()
    store.flow_path(out, clips[2]).write_bytes(b"cut short")
    assert extract(clips, out, SETTINGS, workers=1)[:3] == (2, 10, 1)
    contents = {path: zipfile.ZipFile(path).read("00002.png") for path in bytes_before}
    assert len(contents) == 3
    assert extract(clips, out, SETTINGS, workers=1)[:3] == (0, 0, 3)


def test_a_clip_that_changed_or_other_settings_are_extracted_again(tmp_path, clips):
    out = tmp_path / "flow"
    extract(clips, out, SETTINGS, workers=1)
    noise_video(clips[0].path, 4, seed=9)
    assert extract(clips, out, SETTINGS, workers=1)[:3] == (1, 3, 2)
    assert extract(clips, out, FlowSettings("dis", {"preset": "fast"}), workers=1).extracted == 3


def test_a_bad_clip_is_named_and_the_others_are_finished(tmp_path, clips):
    clips[1].path.write_bytes(b"no video")
    noise_video(clips[2].path, 1)
    summary = extract(clips, tmp_path / "flow", SETTINGS, workers=1)
    assert summary.extracted == 1
    assert len(summary.failed) == 2
    assert any("cannot decode" in line and "#b (c)!_wave_2" in line for line in summary.failed)
    assert any("one frame only" in line and "c_wave_3" in line for line in summary.failed)
    assert [path.stem for path in (tmp_path / "flow").rglob("*") if path.is_file()] == ["a_wave_1"]


def test_an_error_half_way_leaves_no_file(tmp_path, clips):
    def broken():
        yield from fields(2)
        raise KeyboardInterrupt

    path = store.flow_path(tmp_path / "flow", clips[0])
    with pytest.raises(KeyboardInterrupt):
        store.write(path, clips[0], broken(), SETTINGS)
    assert not any(path.parent.iterdir())


def test_other_settings_are_refused_with_both_named(tmp_path, clips):
    path = store.flow_path(tmp_path, clips[0])
    store.write(path, clips[0], fields(2), SETTINGS)
    with pytest.raises(
        ActionRecError, match=r"dis\(preset=ultrafast\) bound=20.*asks for dis\(preset=ultrafast\) bound=15"
    ):
        store.check_settings(path, FlowSettings("dis", {"preset": "ultrafast"}, 15.0))


def test_missing_damaged_and_short_files_are_named(tmp_path, clips):
    path = store.flow_path(tmp_path, clips[0])
    with pytest.raises(ActionRecError, match=r"extract it first: python -m actionrec\.extract_flow"):
        store.read_fields(path, [0])
    path.parent.mkdir()
    path.write_bytes(b"no zip")
    with pytest.raises(ActionRecError, match="damaged"):
        store.read_header(path)
    store.write(path, clips[0], fields(2), SETTINGS)
    with pytest.raises(ActionRecError, match="no readable field 2"):
        store.read_fields(path, [2])
