"""Each module learns: one step lowers the loss, one batch is learnt by heart."""

import pytest
import torch
from torch.nn import functional as F

from actionrec.modules import FlowModule, FrameModule, TwoStreamModule

ACTIONS = ["clap", "wave", "run"]
BACKBONE = {"name": "resnet18", "weights": None, "stem": "inflate"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
INPUTS = {"size": 32, "fields": 4, "stride": 1, "representation": "xy"}

MODULES = {
    "frame": lambda: FrameModule(BACKBONE, ACTIONS, INPUTS, ADAM),
    "flow": lambda: FlowModule(BACKBONE, ACTIONS, INPUTS, ADAM),
    "magnitude": lambda: FlowModule(BACKBONE, ACTIONS, {**INPUTS, "fields": 8, "representation": "magnitude"}, ADAM),
    "concat": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM),
    "concat_features": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="concat_features"),
    "average": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="average"),
    "max": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="max"),
}


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {
        "frame": torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8),
        "flow": torch.randint(0, 256, (6, 8, 32, 32), dtype=torch.uint8),
        "label": torch.tensor([0, 1, 2, 0, 1, 2]),
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_module_learns_a_batch_by_heart(name, batch):
    torch.manual_seed(0)
    module = MODULES[name]().train()
    optimizer = module.configure_optimizers()
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(module(batch), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]
    assert (module(batch).argmax(1) == batch["label"]).all()


@pytest.mark.parametrize("name", MODULES)
def test_hyper_parameters_are_plain_and_name_no_weights(name):
    def check(value):
        assert type(value) in (str, int, float, bool, type(None), list, tuple, dict)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
            check(inner)

    module = MODULES[name]()
    check(dict(module.hparams))
    for key in ("backbone", "frame_backbone", "flow_backbone"):
        assert module.hparams.get(key, {}).get("weights") is None


def test_the_two_stream_network_has_the_references_parameters():
    twelve = [f"a{i}" for i in range(12)]
    module = TwoStreamModule(BACKBONE, BACKBONE, twelve, INPUTS, ADAM)
    assert sum(parameter.numel() for parameter in module.network.parameters()) == 22_381_316


def test_tensors_stay_channels_last(batch):
    module = MODULES["frame"]()
    seen = []
    module.network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(batch)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert module.network.backbone.network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
