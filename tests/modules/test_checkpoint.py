from pathlib import Path

import pytest
import torch
from torch import nn

from actionrec.datasets.actions import SHARED
from actionrec.modules import FlowModule, FrameModule, TwoStreamModule
from actionrec.modules.base import normalisation
from actionrec.modules.checkpoint import Lineage, Parent, carry_head, check_parent, open_parents, read, start_from
from actionrec.system.errors import ActionRecError

BACKBONE = {"name": "resnet18", "weights": None, "stem": "inflate"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
FLOW_INPUTS = {"size": 32, "fields": 4, "stride": 1, "representation": "xy"}


def lineage(model: str, actions=SHARED, split: int | None = 1, backbone=BACKBONE, trained_on=()) -> dict:
    return Lineage(model, "stage", "demo", split, 0, list(actions), backbone, {}, list(trained_on)).plain()


def frame_module(actions=SHARED, name: str = "resnet18") -> FrameModule:
    return FrameModule({**BACKBONE, "name": name}, actions, {"size": 32}, ADAM)


def parent_of(module, model: str | None = None, **options) -> Parent:
    said = lineage(model or type(module).__name__, module.actions, **options)
    return Parent(Path("parent.ckpt"), {"state_dict": module.state_dict(), "lineage": said})


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
    [line] = start_from(child.network, child.actions, {"parent": parent_of(parent)})
    assert line.endswith("head 12 → 4: 3 carried over by name, 1 fresh")
    theirs = parent.network.backbone.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in child.network.backbone.state_dict().items())


@pytest.mark.parametrize("fusion", ["concat", "concat_features", "conv"])
def test_two_streams_start_as_the_average_of_their_parents(fusion):
    torch.manual_seed(0)
    frame, flow = frame_module(), FlowModule(BACKBONE, SHARED, FLOW_INPUTS, ADAM)
    both = TwoStreamModule(BACKBONE, BACKBONE, SHARED, FLOW_INPUTS, ADAM, fusion=fusion)
    start_from(both.network, SHARED, {"frame": parent_of(frame), "flow": parent_of(flow)})
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
    lite = {**BACKBONE, "name": "efficientnet_lite0"}
    frame = FrameModule(lite, SHARED, {"size": 32}, ADAM)
    flow = FlowModule(lite, SHARED, FLOW_INPUTS, ADAM)
    for name, parent in (("frame", frame), ("flow", flow)):
        state = {k: v for k, v in parent.state_dict().items() if not (old and k.endswith((".mean", ".std")))}
        said = {**lineage(type(parent).__name__, backbone=lite), "inputs": FLOW_INPUTS}
        saved = {"state_dict": state, "lineage": said, "hyper_parameters": dict(parent.hparams)}
        torch.save(saved, tmp_path / f"{name}.ckpt")
    single = open_parents(str(tmp_path / "frame.ckpt"), "FrameModule")
    child = FrameModule({**lite, **single["parent"].architecture()}, SHARED, {"size": 32}, ADAM)
    start_from(child.network, SHARED, single)
    both = TwoStreamModule(lite, lite, SHARED, FLOW_INPUTS, ADAM)
    roles = {role: str(tmp_path / f"{role}.ckpt") for role in ("frame", "flow")}
    start_from(both.network, SHARED, open_parents(roles, "TwoStreamModule"))
    seen = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    seen = seen if old else {"mean": [127.5] * 3, "std": [127.5] * 3}
    moved = {"mean": [128.0], "std": [57.63]}
    assert normalisation(child.network) == {"input": seen}
    assert normalisation(both.network) == {"frame": seen, "flow": moved}


def test_constants_that_differ_from_the_parents_are_refused():
    chosen = {**BACKBONE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    parent, child = (FrameModule(each, SHARED, {"size": 32}, ADAM) for each in (BACKBONE, chosen))
    with pytest.raises(ActionRecError, match=r"trained with a mean of \[123\.675, .*leave both null"):
        start_from(child.network, SHARED, {"parent": parent_of(parent)})
    start_from(child.network, SHARED, {"parent": parent_of(FrameModule(chosen, SHARED, {"size": 32}, ADAM))})


def test_flow_of_as_many_channels_as_a_frame_is_no_parent_of_frames():
    three = FlowModule(BACKBONE, SHARED, {**FLOW_INPUTS, "fields": 3, "representation": "magnitude"}, ADAM)
    with pytest.raises(ActionRecError, match="normalises 1 channels, this network 3; start frames from frames"):
        start_from(frame_module().network, SHARED, {"parent": parent_of(three)})


def test_another_backbone_other_channels_and_two_streams_are_refused():
    child = frame_module()
    with pytest.raises(ActionRecError, match="another backbone"):
        start_from(child.network, SHARED, {"parent": parent_of(frame_module(name="resnet34"))})
    flow = parent_of(FlowModule(BACKBONE, SHARED, FLOW_INPUTS, ADAM))
    with pytest.raises(ActionRecError, match="takes 8 channels, this network 3"):
        start_from(child.network, SHARED, {"parent": flow})
    with pytest.raises(ActionRecError, match="is a two-stream network"):
        start_from(child.network, SHARED, {"parent": parent_of(frame_module(), "TwoStreamModule")})


def test_a_parent_that_saw_what_is_measured_is_refused():
    parent = parent_of(frame_module(), split=1, trained_on=["seen", "other"])
    check_parent(parent, 1, ["new"])
    check_parent(parent_of(frame_module(), split=None), 2, ["new"])
    with pytest.raises(ActionRecError, match="trained on split 1, this stage is split 2"):
        check_parent(parent, 2, ["new"])
    with pytest.raises(ActionRecError, match=r"trained on 1 of the clips .*\(first: seen\)"):
        check_parent(parent, 1, ["new", "seen"])


@pytest.mark.parametrize("content", [None, b"junk", {"state_dict": {}}, {"epoch": 1}, [1]])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ActionRecError, match=r"init_from=.*a\.ckpt: (no such|not a) checkpoint"):
        read(path)


def test_roles_must_fit_the_stage():
    assert open_parents(None, "FrameModule") == {}
    with pytest.raises(ActionRecError, match=r"needs init_from\.frame and init_from\.flow"):
        open_parents("a.ckpt", "TwoStreamModule")
    with pytest.raises(ActionRecError, match="is one path"):
        open_parents({"frame": "a.ckpt"}, "FrameModule")
    with pytest.raises(ActionRecError, match=r"init_from\.flow=b\.ckpt: no such checkpoint|init_from\.frame=a\.ckpt"):
        open_parents({"frame": "a.ckpt", "flow": "b.ckpt"}, "TwoStreamModule")
