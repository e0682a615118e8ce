"""Checkpoints as version 0.1 wrote them: networks of a frame, of a stack of flow, or of both."""

import copy

import pytest
import torch

from actionrec.modules import FlowModule, FrameModule, TwoStreamModule
from actionrec.modules.checkpoint import load_module, read
from actionrec.modules.earlier import renew

BACKBONE = {"name": "shufflenet_v2_x0_5", "weights": None, "stem": "inflate", "mean": None, "std": None}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
STORED = {"algorithm": "dis", "params": {"preset": "medium"}, "bound": 20.0, "short_side": None}
STACK = {"flow": STORED, "fields": 8, "stride": 1, "representation": "magnitude"}
RGB = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
CODES = {"mean": [0.0], "std": [57.63]}
ABOUT = {
    "stage": "hmdb51_x",
    "data": "demo",
    "split": 1,
    "seed": 0,
    "actions": ["clap", "wave"],
    "versions": {"torch": "2.14.1", "lightning": "2.6.6", "actionrec": "0.1.0"},
}
COMMON = {"actions": ["clap", "wave"], "optimizer": ADAM, "scheduler": None, "label_smoothing": 0.0, "dropout": 0.0}

FRAME = {
    "hyper_parameters": {**COMMON, "backbone": BACKBONE, "inputs": {"size": 64, "position": "middle"}},
    "lineage": {
        **ABOUT,
        "model": "FrameModule",
        "backbone": {**BACKBONE, "weights": "DEFAULT"},
        "inputs": {"size": 64, "position": "middle"},
        "trained_on": ["a"],
        "normalisation": {"input": RGB},
        "parents": {},
    },
}
FLOW = {
    "hyper_parameters": {**COMMON, "backbone": BACKBONE, "inputs": {"size": 64, "position": "middle", **STACK}},
    "lineage": {
        **FRAME["lineage"],
        "model": "FlowModule",
        "inputs": {"size": 64, "position": "middle", **STACK},
        "normalisation": {"input": CODES},
    },
}


def parent(checkpoint: dict, path: str) -> dict:
    said = {key: value for key, value in checkpoint["lineage"].items() if key != "trained_on"}
    return {"path": path, "sha256": "0" * 64, **said}


BOTH = {
    "hyper_parameters": {
        **{key: value for key, value in FLOW["hyper_parameters"].items() if key != "backbone"},
        "frame_backbone": BACKBONE,
        "flow_backbone": BACKBONE,
        "fusion": "conv",
        "frozen": ["frame"],
    },
    "lineage": {
        **FLOW["lineage"],
        "model": "TwoStreamModule",
        "backbone": {"frame": {**BACKBONE, "weights": "DEFAULT"}, "flow": {**BACKBONE, "weights": "DEFAULT"}},
        "normalisation": {"frame": RGB, "flow": CODES},
        "parents": {"frame": parent(FRAME, "frame.ckpt"), "flow": parent(FLOW, "flow.ckpt")},
    },
}
SEES_FRAME = {"_target_": "actionrec.streams.Frame"}
SEES_FLOW = {
    "_target_": "actionrec.streams.Flow",
    **STORED,
    "fields": 8,
    "stride": 1,
    "representation": "magnitude",
}


def weights(*streams: str) -> dict:
    """Of such a network, under the names that they had."""
    torch.manual_seed(0)
    seen = {"size": 64, "streams": {"frame": SEES_FRAME, "flow": SEES_FLOW}}
    seen["streams"] = {name: seen["streams"][name] for name in streams}
    settings = {name: {"backbone": BACKBONE} for name in streams}
    kind, options = TwoStreamModule, {"fusion": "conv"}
    if len(streams) == 1:
        kind, options = (FrameModule if streams == ("frame",) else FlowModule), {}
    return kind(["clap", "wave"], seen, ADAM, **settings, **options).state_dict()


OLD = {"frame": (FRAME, ("frame",)), "flow": (FLOW, ("flow",)), "both": (BOTH, ("frame", "flow"))}


@pytest.mark.parametrize("constants", [True, False])
@pytest.mark.parametrize("name", OLD)
def test_a_checkpoint_of_before_is_read_as_one_of_today(tmp_path, name, constants):
    """Those without constants are older still."""
    said, streams = OLD[name]
    state = weights(*streams)
    kept = {key: value for key, value in state.items() if constants or not key.endswith((".mean", ".std"))}
    torch.save({**copy.deepcopy(said), "state_dict": kept, "epoch": 3}, tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt")
    module = load_module(tmp_path / "a.ckpt", found)
    assert list(module.streams) == list(streams)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert found["lineage"] == module.lineage
    assert module.inputs == found["lineage"]["inputs"]
    assert module.hparams.keys() == found["hyper_parameters"].keys()


def test_what_it_says_of_itself_and_its_parents_names_streams():
    both = {**copy.deepcopy(BOTH), "state_dict": weights("frame", "flow")}
    renew(both)
    assert both["lineage"]["inputs"] == {
        "size": 64,
        "position": "middle",
        "streams": {"frame": SEES_FRAME, "flow": SEES_FLOW},
    }
    assert both["lineage"]["backbone"] == BOTH["lineage"]["backbone"]
    assert both["lineage"]["normalisation"] == {"frame": RGB, "flow": CODES}
    assert both["hyper_parameters"]["inputs"] == both["lineage"]["inputs"]
    assert both["hyper_parameters"]["flow"] == {"backbone": BACKBONE}
    for name, sees, constants in (("frame", SEES_FRAME, RGB), ("flow", SEES_FLOW, CODES)):
        theirs = both["lineage"]["parents"][name]
        assert theirs["path"] == f"{name}.ckpt"
        assert theirs["inputs"]["streams"] == {name: sees}
        assert theirs["backbone"] == {name: {**BACKBONE, "weights": "DEFAULT"}}
        assert theirs["normalisation"] == {name: constants}


def test_a_checkpoint_of_today_stays_as_it_is():
    both = {**copy.deepcopy(BOTH), "state_dict": weights("frame", "flow")}
    renew(both)
    again = copy.deepcopy(both)
    renew(again)
    assert again.keys() == both.keys()
    assert all(again[key] == both[key] for key in ("lineage", "hyper_parameters"))


def test_a_users_own_class_of_before_keeps_its_streams():
    for said, streams in OLD.values():
        own = {**copy.deepcopy(said), "state_dict": weights(*streams)}
        own["lineage"]["model"] = "Mine"
        renew(own)
        assert tuple(own["lineage"]["inputs"]["streams"]) == streams
