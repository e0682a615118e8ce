from pathlib import Path

import pytest
import torch
from torch import nn

from actionrec.actions import SHARED
from actionrec.errors import ActionRecError
from actionrec.modules import FlowModule, FrameModule, TwoStreamModule
from actionrec.modules.checkpoint import Lineage, Parent, carry_head, check_parent, open_parents, read, start_from

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
