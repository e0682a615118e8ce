"""Files that vanish or are damaged after indexing give an error of one line that names the file."""

import shutil

import pytest
from hydra.utils import instantiate

from actionrec.system.errors import ActionRecError


@pytest.fixture(scope="module")
def copies(demo_root, demo_flow, tmp_path_factory):
    """The demo set with its flow and frames, to be damaged by the tests."""
    folder = tmp_path_factory.mktemp("copies")
    shutil.copytree(demo_root, folder / "data")
    shutil.copytree(demo_flow, folder / "flow")
    return folder


@pytest.fixture(scope="module")
def sets(compose_config, copies):
    """Data modules after setup, by the kind of files that they read."""
    places = [f"paths.root={copies / 'data'}", f"paths.flow={copies / 'flow'}", f"paths.frames={copies / 'frames'}"]
    found = {}
    for kind, stage in (("stills", "stanford40_frame"), ("frames", "hmdb51_frame"), ("flow", "hmdb51_flow")):
        config = compose_config("train", f"experiment={stage}", *places, "data.size=32", "data.num_workers=0")
        found[kind] = instantiate(config.data, _convert_="all")
        found[kind].setup()
    return found


def vanish(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def empty(path):
    path.write_bytes(b"")


def rot(path):
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = b"\x00" * (len(data) // 2)
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [vanish, cut, empty, rot])
@pytest.mark.parametrize("kind", ["stills", "frames", "flow"])
def test_what_is_damaged_in_mid_run_is_named(sets, copies, kind, harm):
    data = sets[kind]
    record = data.splits.test[0]
    path = record.path if kind == "stills" else copies / kind / record.action / f"{record.path.stem}.zip"
    whole = path.read_bytes()
    data.datasets["test"][0]
    harm(path)
    try:
        with pytest.raises(ActionRecError) as error:
            data.datasets["test"][0]
    finally:
        path.write_bytes(whole)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    data.datasets["test"][0]
