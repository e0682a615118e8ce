"""Settings of version 1 are read as those of today."""

import pytest
from hydra.utils import get_object

from actionrec.settings.earlier import MOVED, renew, renew_flat

FLOW = {"algorithm": "dis", "params": {"preset": "fast"}, "bound": 20.0, "short_side": None}
SHARED = {"actions": "shared", "size": 224, "crops": 1}
CLIPS = {"videos": "/v", "splits": "/s", "split": 2, "position": "middle", "segments": 5, **SHARED}
STACK = {"flow_folder": "/f", "flow": FLOW, "fields": None, "stride": 1, "representation": "xy"}
BACKBONE = {"name": "resnet18", "weights": None}
OF_HMDB51 = {"_target_": "actionrec.datasets.hmdb51.HMDB51", "name": "hmdb51"}
FRAME = {"_target_": "actionrec.streams.Frame", "folder": "/frames"}
STACKED = {"fields": None, "stride": 1, "representation": "xy", "folder": "/f"}

# By data set and streams: `data` and `model` of then, and what follows of now.
THEN = {
    "Stanford40FrameDataModule": ({"root": "/r", "protocol": "pooled", **SHARED}, ("frame",)),
    "HMDB51FrameDataModule": ({**CLIPS, "frame_folder": "/frames"}, ("frame",)),
    "HMDB51FlowDataModule": ({**CLIPS, "frame_folder": "/frames", **STACK}, ("flow",)),
    "HMDB51TwoStreamDataModule": ({**CLIPS, "frame_folder": "/frames", **STACK}, ("frame", "flow")),
}
MODULES = {("frame",): "FrameModule", ("flow",): "FlowModule", ("frame", "flow"): "TwoStreamModule"}


def settings_of_before(kind: str) -> dict:
    data, streams = THEN[kind]
    keys = ["backbone"] if len(streams) == 1 else [f"{stream}_backbone" for stream in streams]
    model = {"_target_": f"actionrec.modules.{MODULES[streams]}", "dropout": 0.5, **dict.fromkeys(keys, BACKBONE)}
    trainer = {"_target_": "actionrec.hardware.create_trainer", "max_epochs": 3}
    return {"data": {"_target_": f"actionrec.datamodules.{kind}", **data}, "model": model, "trainer": trainer}


@pytest.mark.parametrize("kind", THEN)
def test_settings_of_before_are_those_of_today(kind):
    _, streams = THEN[kind]
    found = renew({"stage": "x", **settings_of_before(kind)})
    data, model = found["data"], found["model"]
    assert data["_target_"] == "actionrec.datamodules.create"
    assert model == {
        "_target_": "actionrec.modules.create",
        "dropout": 0.5,
        **{stream: {"backbone": BACKBONE} for stream in streams},
    }
    if kind.startswith("Stanford40"):
        place = {"_target_": "actionrec.datasets.stanford40.Stanford40", "name": "stanford40"}
        assert found["dataset"] == {**place, "root": "/r", "protocol": "pooled"}
    else:
        assert found["dataset"] == {**OF_HMDB51, "videos": "/v", "splits": "/s", "split": 2}
    assert data["dataset"] == found["dataset"]
    assert [key for key in data if isinstance(data[key], dict)] == ["dataset", *streams]
    if "flow" in streams:
        assert data["flow"] == {"_target_": "actionrec.streams.Flow", **FLOW, **STACKED}
    if kind == "HMDB51FrameDataModule":
        assert data["frame"] == FRAME
    assert found["trainer"]["_target_"] == "actionrec.system.hardware.create_trainer"
    assert found["stage"] == "x"
    assert renew(found) == found


def test_those_of_manifests_too():
    def flat(node, prefix=""):
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    for kind in THEN:
        before = settings_of_before(kind)
        settings = {**dict(flat(before)), "stage": "x", "compile.options.a.b": 1}
        expected = {**dict(flat(renew(before))), "stage": "x", "compile.options.a.b": 1}
        assert renew_flat(settings) == expected
        assert renew_flat(expected) == expected


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"data": None, "model": 5, "trainer": []},
        {"data": {"_target_": ["x"]}, "model": {"_target_": {}}},
        {"data": {"_target_": "mylab.Data", "fields": 4}, "model": {"_target_": "mylab.Net", "backbone": {}}},
        {"data": {"_target_": "actionrec.datamodules.HMDB51FlowDataModule", "dataset": {}, "flow": {}}},
    ],
)
def test_what_is_not_known_stays(saved):
    assert renew(saved) == saved


def test_flow_that_is_no_mapping_is_left_to_the_checks():
    found = renew({"data": {"_target_": "actionrec.datamodules.HMDB51FlowDataModule", "flow": 5}})
    assert found["data"]["flow"] == {"_target_": "actionrec.streams.Flow"}
    assert renew_flat({"data.flow": 5, "data.flow.bound": 1}) == {"data.flow": 5, "data.flow.bound": 1}


@pytest.mark.parametrize("target", MOVED.values())
def test_targets_that_have_moved_are_there(target):
    assert callable(get_object(target))


def test_callbacks_of_before_have_the_names_of_today():
    saved = {"callbacks": {"origin": {"_target_": "actionrec.callbacks.Origin", "config": "config.yaml"}}}
    assert renew(saved)["callbacks"]["origin"] == {
        "_target_": "actionrec.callbacks.LogLineage",
        "config": "config.yaml",
    }
