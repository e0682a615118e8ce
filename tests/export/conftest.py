"""Small networks with random weights and statistics, and checkpoints of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from actionrec.export import run as exporting
from actionrec.export.graph import Graph
from actionrec.export.onnx_file import EXPORTERS
from actionrec.modules import create
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import Lineage
from actionrec.modules.exported import Description
from tests.prediction.conftest import ACTIONS, FLOW, FRAME

SIZE = 32
CLIP = {"_target_": "actionrec.streams.Clip", "frames": 4, "stride": 1}
BOTH = {"frame": FRAME, "flow": FLOW}
PARENT = "/home/me/outputs/demo/stills/split1-seed0/checkpoints/best.ckpt"
LIGHT = "shufflenet_v2_x0_5"


def made(streams: Mapping[str, Any] = {"frame": FRAME}, name: str = LIGHT, **options: Any) -> ActionModule:
    """A module whose logits differ between samples: statistics of a normalisation are those of random pictures."""
    torch.manual_seed(0)
    inputs = {"size": SIZE, "position": "middle", "streams": dict(streams)}
    own = {stream: {"backbone": {"name": name, "weights": None}} for stream in streams}
    module = create(inputs, actions=ACTIONS, optimizer={"_target_": "torch.optim.Adam"}, **own, **options)
    module.lineage = Lineage(
        type(module).__name__,
        *("frame", "demo", 1, 0, list(ACTIONS)),
        {stream: each["backbone"] for stream, each in own.items()},
        inputs,
        [],
        {"parent": {"path": PARENT, "sha256": "1" * 64, "versions": {}, "parents": {}}},
    ).plain()
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
                norm.momentum = 1.0
        module.train()(batch_of(module, 32))  # statistics of few samples would multiply rounding errors
        for weights in (each for key, each in module.named_parameters() if "backbone" not in key):
            torch.nn.init.normal_(weights, std=weights.shape[-1] ** -0.5)
    return module.eval()


def batch_of(module: ActionModule, number: int = 5) -> dict[str, torch.Tensor]:
    """Random samples, unlike each other also in their mean."""
    generator = torch.Generator().manual_seed(1)
    shapes = described(module, list(module.streams)).shapes
    found = {}
    for name, shape in shapes.items():
        brightness = torch.rand((number, *[1] * len(shape)), generator=generator)
        found[name] = (torch.rand((number, *shape), generator=generator) * brightness * 255).byte()
    return found


def described(module: ActionModule, streams: list[str] | None = None) -> Description:
    """The description of a module's file."""
    names = streams or Graph(module).names
    views = {"segments": 2, "crops": 1}
    return Description(module.lineage, "0" * 64, names, views, "float32", None, {"torch": "2"})


def export_by_torchscript(patch: pytest.MonkeyPatch) -> None:
    """Leave the exporter of TorchScript alone, which takes a tenth of the other one's time."""
    patch.setattr(exporting, "EXPORTERS", {"torchscript": EXPORTERS["torchscript"]})


@pytest.fixture
def fast_exporter(monkeypatch) -> None:
    """See `export_by_torchscript`."""
    export_by_torchscript(monkeypatch)


def save(module: ActionModule, folder: Path) -> Path:
    """Write the best checkpoint of a module's run; returns the folder of the run."""
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    state = {"state_dict": module.state_dict(), "hyper_parameters": {**module.hparams}, "lineage": module.lineage}
    torch.save(state, run / "checkpoints" / "best.ckpt")
    return run
