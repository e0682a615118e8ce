from pathlib import Path

import pytest
import torch
from torch import nn

from actionrec import modules
from actionrec.datasets.actions import SHARED
from actionrec.modules import FrameModule
from actionrec.modules.base import normalisation
from actionrec.modules.checkpoint import Lineage
from actionrec.modules.parents import Parent, carry_head, check_parent, open_parents, start_from
from actionrec.streams import Flow, Frame
from actionrec.system.errors import ActionRecError

BACKBONE = {"name": "resnet18", "weights": None, "stem": "inflate"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
FRAME, FLOW = {"frame": Frame().settings()}, {"flow": Flow("dis").settings()}
LITE = {**BACKBONE, "name": "efficientnet_lite0"}


def lineage(module, split: int | None = 1, trained_on=()) -> dict:
    backbone = {name: module.hparams[name]["backbone"] for name in module.streams}
    about = "stage", "demo", split, 0, list(module.actions)
    return Lineage(type(module).__name__, *about, backbone, module.inputs, list(trained_on)).plain()


def create(streams, actions=SHARED, backbone=BACKBONE, **options):
    """The module of those streams."""
    settings = {name: {"backbone": backbone} for name in streams}
    return modules.create(
        actions=actions, inputs={"size": 32, "streams": streams}, optimizer=ADAM, **settings, **options
    )


def frame_module(actions=SHARED, name: str = "resnet18") -> FrameModule:
    return create(FRAME, actions, {**BACKBONE, "name": name})


def parent_of(module, **options) -> Parent:
    return Parent(Path("parent.ckpt"), {"state_dict": module.state_dict(), "lineage": lineage(module, **options)})


@pytest.mark.parametrize(
    "actions", [SHARED, SHARED[::-1], SHARED[2:9], ("golf", *SHARED[:5], *(f"a{i}" for i in range(45)))]
)
def test_head_rows_follow_the_names(actions):
    torch.manual_seed(0)
    parent, child = nn.Linear(6, 12), nn.Linear(6, len(actions))
    fresh = child.weight.detach().clone()
    carried = carry_head(child, actions, parent.weight, parent.bias, SHARED)
    assert carried == [action for action in actions if action in SHARED]
    for row, action in enumerate(actions):
        if action in SHARED:
            assert torch.equal(child.weight[row], parent.weight[SHARED.index(action)])
            assert child.bias[row] == parent.bias[SHARED.index(action)]
        else:
            assert torch.equal(child.weight[row], fresh[row])


def test_a_stage_starts_with_all_its_parents_weights_and_says_so():
    parent, child = frame_module(), frame_module([*SHARED[:3], "golf"])
    [line] = start_from(child, {"parent": parent_of(parent)})
    assert line.endswith("head 12 → 4: 3 carried over by name, 1 fresh")
    theirs = parent.network.backbone.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in child.network.backbone.state_dict().items())


@pytest.mark.parametrize("fusion", ["concat", "concat_features", "conv"])
def test_two_streams_start_as_the_average_of_their_parents(fusion):
    torch.manual_seed(0)
    frame, flow = frame_module(), create(FLOW)
    both = create({**FRAME, **FLOW}, fusion=fusion)
    start_from(both, {"frame": parent_of(frame), "flow": parent_of(flow)})
    batch = {
        "frame": torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8),
        "flow": torch.randint(0, 256, (3, 8, 32, 32), dtype=torch.uint8),
    }
    with torch.no_grad():
        expected = (frame.eval()(batch) + flow.eval()(batch)) / 2
        assert torch.allclose(both.eval()(batch), expected, atol=1e-4)


@pytest.mark.parametrize("old", [False, True])
def test_a_stage_sees_its_pictures_as_its_parent_did(tmp_path, old):
    """And not as weights of its own settings would; parents of before have ImageNet's constants and TSN's."""
    for name, streams in (("frame", FRAME), ("flow", FLOW)):
        parent = create(streams, backbone=LITE)
        saved = {"state_dict": parent.state_dict(), "lineage": lineage(parent)}
        saved["hyper_parameters"] = dict(parent.hparams)
        if old:
            inputs = {"size": 32, "flow": {"algorithm": "dis"}, "fields": 4, "stride": 1, "representation": "xy"}
            settings = {key: value for key, value in parent.hparams.items() if key != name}
            saved["state_dict"] = {k: v for k, v in saved["state_dict"].items() if not k.endswith((".mean", ".std"))}
            saved["lineage"] |= {"inputs": inputs, "backbone": LITE}
            saved["hyper_parameters"] = {**settings, "backbone": LITE, "inputs": inputs}
        torch.save(saved, tmp_path / f"{name}.ckpt")
    single = open_parents(str(tmp_path / "frame.ckpt"), ["frame"])
    child = create(FRAME, backbone={**LITE, **single["parent"].architecture()})
    start_from(child, single)
    both = create({**FRAME, **FLOW}, backbone=LITE)
    roles = {role: str(tmp_path / f"{role}.ckpt") for role in ("frame", "flow")}
    start_from(both, open_parents(roles, ["frame", "flow"]))
    seen = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    seen = seen if old else {"mean": [127.5] * 3, "std": [127.5] * 3}
    moved = {"mean": [128.0], "std": [57.63]}
    assert normalisation(child) == {"frame": seen}
    assert normalisation(both) == {"frame": seen, "flow": moved}


def test_constants_that_differ_from_the_parents_are_refused():
    chosen = {**BACKBONE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    parent, child = (create(FRAME, backbone=each) for each in (BACKBONE, chosen))
    with pytest.raises(ActionRecError, match=r"trained with a mean of \[123\.675, .*leave both null"):
        start_from(child, {"parent": parent_of(parent)})
    start_from(child, {"parent": parent_of(create(FRAME, backbone=chosen))})


def test_flow_of_as_many_channels_as_a_frame_is_no_parent_of_frames():
    three = create({"flow": Flow("dis", fields=3, representation="magnitude").settings()})
    with pytest.raises(
        ActionRecError, match="normalises 1 channels, this network 3; start from a stream of the same modality"
    ):
        start_from(frame_module(), {"parent": parent_of(three)})


def test_another_backbone_other_channels_and_two_streams_are_refused():
    child = frame_module()
    with pytest.raises(ActionRecError, match="another backbone"):
        start_from(child, {"parent": parent_of(frame_module(name="resnet34"))})
    flow = parent_of(create(FLOW))
    with pytest.raises(ActionRecError, match="takes 8 channels, this network 3"):
        start_from(child, {"parent": flow})
    with pytest.raises(ActionRecError, match=r"is a network of several streams \(frame, flow\); start frame from"):
        start_from(child, {"parent": parent_of(create({**FRAME, **FLOW}))})


@pytest.mark.parametrize(("theirs", "own"), [("xy", "magnitude"), ("magnitude", "xy")])
def test_lengths_of_flow_are_no_parent_of_displacements(theirs, own):
    """Both are eight channels, and no motion is 0 in one and 128 in the other."""
    parent, child = (create({"flow": Flow("dis", representation=each).settings()}) for each in (theirs, own))
    with pytest.raises(ActionRecError, match=f"sees flow of .*representation={theirs}, whose values mean something"):
        start_from(child, {"parent": parent_of(parent)})
    start_from(child, {"parent": parent_of(create({"flow": Flow("tvl1", representation=own).settings()}))})


def test_the_parents_of_several_streams_have_background_if_their_child_has_it():
    """A stream alone learns a row of its head that its parent lacks; frozen streams, and those of a gate, do not."""
    more = (*SHARED, "background")
    both = {"frame": parent_of(frame_module()), "flow": parent_of(create(FLOW, more))}
    with pytest.raises(ActionRecError, match=r"parent\.ckpt has no class background, .* data\.background"):
        start_from(create({**FRAME, **FLOW}, more), both)
    start_from(frame_module(more), {"parent": both["frame"]})
    start_from(create({**FRAME, **FLOW}), both)


class Difference(Frame):
    """Sees three channels, as frames have, of something else."""

    def settings(self):
        return {"_target_": "tests.modules.test_parents.Difference"}


def test_a_stream_that_sees_something_else_is_no_parent():
    other = parent_of(create({"difference": Difference().settings()}))
    with pytest.raises(ActionRecError, match="start frame from a stream that sees the same"):
        start_from(frame_module(), {"parent": other})


def test_a_stream_without_a_parent_keeps_its_weights():
    """The others take theirs from their parents, also under another name."""
    frame = frame_module()
    both = create({"first": FRAME["frame"], **FLOW})
    fresh = {key: value.clone() for key, value in both.streams["flow"].state_dict().items()}
    start_from(both, {"first": parent_of(frame)})
    assert all(torch.equal(value, fresh[key]) for key, value in both.streams["flow"].state_dict().items())
    theirs = frame.network.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in both.streams["first"].state_dict().items())


def test_a_parent_that_saw_what_is_measured_is_refused():
    parent = parent_of(frame_module(), split=1, trained_on=["seen", "other"])
    check_parent(parent, 1, ["new"], ["seen"])
    check_parent(parent_of(frame_module(), split=None, trained_on=["seen"]), 2, ["new"], ["seen"])
    for held_out, training in ((["new"], ["seen"]), (["seen"], ["new"])):
        with pytest.raises(ActionRecError, match="trained on split 1, this stage is split 2 of the same data set"):
            check_parent(parent, 2, held_out, training)
    with pytest.raises(ActionRecError, match=r"trained on 1 of the clips .*\(first: seen\)"):
        check_parent(parent, 1, ["new", "seen"])


def test_a_parent_of_another_data_set_may_have_another_split():
    check_parent(parent_of(frame_module(), split=2, trained_on=["v_Archery_g01"]), 1, ["shoot_1"], ["shoot_2"])


def test_roles_must_fit_the_stage():
    assert open_parents(None, ["frame"]) == {}
    with pytest.raises(ActionRecError, match=r"needs init_from\.frame and init_from\.flow"):
        open_parents("a.ckpt", ["frame", "flow"])
    with pytest.raises(ActionRecError, match="is one path"):
        open_parents({"flow": "a.ckpt"}, ["frame"])
    with pytest.raises(ActionRecError, match=r"init_from\.frame=a\.ckpt: no such checkpoint"):
        open_parents({"frame": "a.ckpt"}, ["frame"])
    with pytest.raises(ActionRecError, match=r"needs init_from\.frame and init_from\.flow and init_from\.rgb;"):
        open_parents({"frame": "a.ckpt", "flow": None}, ["frame", "flow", "rgb"])
    assert open_parents({"frame": None, "flow": None}, ["frame", "flow"]) == {}
    with pytest.raises(ActionRecError, match=r"init_from\.flow=b\.ckpt: no such checkpoint|init_from\.frame=a\.ckpt"):
        open_parents({"frame": "a.ckpt", "flow": "b.ckpt"}, ["frame", "flow"])
