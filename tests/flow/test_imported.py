from pathlib import Path

import cv2
import numpy as np
import pytest

from actionrec.datasets.records import Clip
from actionrec.flow.field import quantize
from actionrec.flow.imported import picture_fields
from actionrec.storage import flow as store
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.system.errors import ActionRecError
from tests.conftest import noise_video, write_splits

SETTINGS = FlowSettings("imported", {"by": "tvl1"}, 15.0)
FRAMES = 6


@pytest.fixture
def clip(tmp_path) -> Clip:
    path = noise_video(tmp_path / "data" / "hmdb51" / "wave" / "#a (b)_wave_1.avi", FRAMES)
    return Clip(path, "wave", "#a (b)")


def code(displacement: float) -> int:
    return int(quantize(np.full((1, 1, 2), float(displacement)), SETTINGS.bound)[0, 0, 0])


def layout(root: Path, clip: Clip, kind: str, fields: int = FRAMES - 1, first: int = 1) -> Path:
    """Write `fields` fields; every displacement of field i is (i, -i) pixels."""
    name = clip.path.stem
    for i in range(fields):
        number = i + first
        files = {
            "dense_flow": (f"{name}/flow_x_{number:05d}.jpg", f"{name}/flow_y_{number:05d}.jpg"),
            "by action": (f"wave/{name}/flow_x_{number:05d}.jpg", f"wave/{name}/flow_y_{number:05d}.jpg"),
            "u and v": (f"u/{name}/frame{number:06d}.jpg", f"v/{name}/frame{number:06d}.jpg"),
        }[kind]
        for file, displacement in zip(files, (i, -i), strict=True):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            picture = np.full((30, 40), code(displacement), np.uint8)
            cv2.imwrite(str(root / file), picture)
    (root / name).mkdir(exist_ok=True, parents=True) if kind == "dense_flow" else None
    cv2.imwrite(str(root / "img_00001.jpg"), np.zeros((3, 3), np.uint8))  # what else such folders hold
    return root


@pytest.mark.parametrize("kind", ["dense_flow", "by action", "u and v"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_usual_layouts_are_read(tmp_path, clip, kind, first):
    fields = list(picture_fields(clip, SETTINGS, layout(tmp_path / "flow", clip, kind, first=first)))
    assert len(fields) == FRAMES - 1
    for i, codes in enumerate(fields):
        assert codes.shape == (2, 30, 40)
        assert (codes[0] == code(i)).all()
        assert (codes[1] == code(-i)).all()


def test_a_folder_by_the_stem_alone_is_of_no_clip_whose_stem_comes_twice(tmp_path, clip):
    root, doubled = tmp_path / "flow", clip._replace(alias=f"wave/{clip.path.stem}")
    layout(root, clip, "dense_flow")
    with pytest.raises(ActionRecError, match="no flow of"):
        list(picture_fields(doubled, SETTINGS, root))
    layout(root, clip, "by action")
    assert len(list(picture_fields(doubled, SETTINGS, root))) == FRAMES - 1


@pytest.mark.parametrize(("given", "taken"), [(FRAMES, FRAMES - 1), (FRAMES - 2, FRAMES - 2)])
def test_one_field_more_or_less_is_a_matter_of_decoders(tmp_path, clip, given, taken):
    root = layout(tmp_path / "flow", clip, "dense_flow", fields=given)
    assert len(list(picture_fields(clip, SETTINGS, root))) == taken


def test_what_is_wrong_is_named(tmp_path, clip):
    def refused(message: str) -> None:
        with pytest.raises(ActionRecError, match=message):
            list(picture_fields(clip, SETTINGS, tmp_path / "flow"))

    (tmp_path / "flow").mkdir()
    refused(r"no flow of #a \(b\)_wave_1\.avi under")
    root = layout(tmp_path / "flow", clip, "dense_flow", fields=2)
    refused("has 2 fields, .* 6 frames")
    layout(root, clip, "dense_flow")
    folder = root / clip.path.stem
    (folder / "flow_y_00005.jpg").unlink()
    refused("5 pictures of x and 4 of y")
    (folder / "flow_x_00003.jpg").rename(folder / "flow_x_00009.jpg")
    refused(r"lacks number 3 of its pictures flow_x")
    layout(root, clip, "dense_flow", first=2)
    (folder / "flow_x_00001.jpg").unlink()
    (folder / "flow_x_00009.jpg").unlink()
    refused(r"lacks the first of its pictures flow_x")


def test_unreadable_and_unequal_pictures_are_named(tmp_path, clip):
    root = layout(tmp_path / "flow", clip, "u and v")
    cv2.imwrite(str(root / "v" / clip.path.stem / "frame000002.jpg"), np.zeros((3, 3), np.uint8))
    with pytest.raises(ActionRecError, match=r"frame000002\.jpg .* of different sizes"):
        list(picture_fields(clip, SETTINGS, root))
    (root / "u" / clip.path.stem / "frame000001.jpg").write_bytes(b"")
    with pytest.raises(ActionRecError, match=r"cannot read the picture .*frame000001\.jpg"):
        list(picture_fields(clip, SETTINGS, root))


@pytest.mark.ci
def test_the_command_line_imports_and_says_what_failed(tmp_path, clip, run):
    data = tmp_path / "data"
    other = noise_video(data / "hmdb51" / "clap" / "c_clap_1.avi", 4)
    write_splits(data / "hmdb51_splits", {"wave": {clip.path.name: 1}, "clap": {other.name: 1}})
    source = layout(tmp_path / "flow", clip, "dense_flow")
    into = tmp_path / "store"
    places = [f"paths.root={data}", "data.actions=[wave,clap]", f"paths.flow={into}", "workers=1", f"source={source}"]
    outcome = run("import_flow", *places)
    assert "flow.bound=None: use the largest displacement" in outcome.err
    outcome = run("import_flow", *places, "flow.bound=15", "flow.params.by=tvl1")
    assert outcome.status == 1
    assert "no flow of c_clap_1.avi" in outcome.err
    assert "1 clips written (5 fields" in outcome.err
    header = store.check_settings(clip_path(into, clip), SETTINGS)
    assert (header.fields, header.height, header.width) == (5, 30, 40)
    outcome = run("import_flow", *places, "flow.bound=15", "flow.params.by=tvl1")
    assert "0 clips written (0 fields" in outcome.err
