"""Finished runs with networks of random weights, and small videos."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from actionrec.page.networks import Networks
from actionrec.prediction.loading import Loaded
from tests.conftest import write_video
from tests.export.conftest import BOTH, FLOW, made, save
from tests.prediction.conftest import FRAME, pictures

RUNS = {
    "frame": {"streams": {"frame": FRAME}},
    "flow": {"streams": {"flow": FLOW}},
    "concat": {"streams": BOTH, "fusion": "concat"},
    "conv": {
        "streams": BOTH,
        "fusion": "conv",
        "name": "resnet18",
    },  # the last maps of the light one are not the head's
    "gated": {"streams": BOTH, "fusion": "gated", "frozen": ("frame", "flow")},
}


@pytest.fixture(scope="session")
def outputs(tmp_path_factory) -> Path:
    """The folder of the runs `mine/<name>/split1-seed0`, for the names of `RUNS`."""
    folder = tmp_path_factory.mktemp("page") / "outputs"
    for name, options in RUNS.items():
        module = made(**options)
        if name == "gated":
            module.network.fusion.weights.copy_(module.network.fusion.weights.new_tensor([0.0, 1.0]))
        run = save(module, tmp_path_factory.mktemp("made"))
        (run / "metrics.json").write_text(json.dumps({"test/acc": 0.5, "val/acc": 0.25}))
        shutil.copytree(run, folder / "mine" / name / "split1-seed0")
    return folder


@pytest.fixture(scope="session")
def app_config(compose_config, outputs) -> Callable[..., DictConfig]:
    """Compose the settings of the page, on the CPU in float32."""

    def compose(*overrides: str) -> DictConfig:
        fixed = ("accelerator=cpu", "precision=32-true", "views.segments=1", "views.crops=1")
        return compose_config("app", f"paths.outputs={outputs}", *fixed, *overrides)

    return compose


@pytest.fixture
def network_of(app_config, outputs) -> Callable[..., tuple[Loaded, Networks]]:
    """The network of one of `RUNS`."""

    def load(name: str, *overrides: str) -> tuple[Loaded, Networks]:
        networks = Networks(app_config(*overrides))
        return networks.get(outputs / "mine" / name / "split1-seed0"), networks

    return load


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """A video of 0.4 seconds."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.avi", pictures(10))


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory) -> Path:
    """A video of 4 seconds."""
    return write_video(tmp_path_factory.mktemp("clips") / "long.avi", pictures(100, seed=1))
