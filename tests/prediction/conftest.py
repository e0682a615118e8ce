"""Networks with random weights as the checkpoints of stages, and small videos."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from actionrec.experiment.build import create_data, create_lineage, create_module
from actionrec.modules import create
from actionrec.modules.checkpoint import Lineage
from actionrec.prediction.loading import Loaded, load, place_of
from actionrec.prediction.reading import Reader
from tests.conftest import QUICK

SMALL = (*QUICK, "trainer.precision=32-true", "data.size=32", "data.actions=[clap,wave]", "init_from=null")
KINDS = {
    "frame": ["experiment=frame"],
    "flow": ["experiment=flow", "data.region=square"],
    "magnitude": ["experiment=flow", "data.flow.representation=magnitude", "data.flow.fields=3", "data.flow.stride=2"],
    "rgb_difference": ["experiment=rgb_difference"],
    "dynamic_image": ["experiment=dynamic_image"],
    "clip": [
        "experiment=clip",
        "model.clip.backbone.name=mc3_18",
        "model.clip.backbone.weights=null",
        "data.clip.frames=4",
    ],
    "focused": [
        "experiment=two_stream",
        "stream=[frame,flow,rgb_difference,dynamic_image]",
        *(f"data.{stream}.focus=motion" for stream in ("frame", "flow", "rgb_difference", "dynamic_image")),
        "data.flow.size=48",
    ],
    "two_stream": ["experiment=two_stream"],
    "three_streams": ["experiment=two_stream", "stream=[frame,flow,rgb_difference]"],
}


@pytest.fixture
def checkpoint_of(compose_config, paths, tmp_path) -> Callable[..., Path]:
    """Write the checkpoint of a network with random weights, whose scores differ much between samples."""

    def write(*overrides: str) -> Path:
        config = compose_config("train", *paths, *SMALL, *overrides)
        torch.manual_seed(0)
        data = create_data(config)
        module = create_module(config, data, {})
        with torch.no_grad():
            heads = {name: each for name, each in module.named_parameters() if "backbone" not in name}
            last = [each for name, each in heads.items() if "fusion" in name] or list(heads.values())
            for weights in heads.values():
                torch.nn.init.normal_(weights)
            for norm in module.modules():
                if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
                    norm.momentum = 1.0  # so that one batch sets the statistics
            batch = next(iter(data.train_dataloader()))
            module.train()(batch)
            largest = module.eval()(batch).abs().max()
            for weights in last:
                weights /= largest  # logits of at most about 1
        path = tmp_path / "run" / "checkpoints" / "best.ckpt"
        path.parent.mkdir(parents=True)
        lineage = create_lineage(config, data, {}, module)
        torch.save(
            {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "lineage": lineage}, path
        )
        return path

    return write


@pytest.fixture(scope="session")
def light_run(tmp_path_factory) -> Path:
    """The folder of a run of frames, with a network of random weights; tests that write into the folder copy it."""
    torch.manual_seed(0)
    inputs = {"size": 32, "position": "middle", "streams": {"frame": FRAME}}
    backbone = {"name": "shufflenet_v2_x0_5", "weights": None}
    module = create(inputs, actions=ACTIONS, frame={"backbone": backbone}, optimizer={"_target_": "torch.optim.Adam"})
    lineage = Lineage("FrameModule", "frame", "demo", 1, 0, list(ACTIONS), {"frame": backbone}, inputs, [])
    run = tmp_path_factory.mktemp("light") / "run"
    (run / "checkpoints").mkdir(parents=True)
    state = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "lineage": lineage.plain()}
    torch.save(state, run / "checkpoints" / "best.ckpt")
    return run


def loaded(config: DictConfig) -> Loaded:
    """The network that a composed configuration names."""
    return load(config, place_of(config))


ACTIONS = ("clap", "run", "wave")
FRAME = {"_target_": "actionrec.streams.Frame"}
FLOW = {"_target_": "actionrec.streams.Flow", "algorithm": "dis", "params": {"preset": "ultrafast"}, "fields": 2}


def reader_of(segments: int = 1, crops: int = 1, **streams: dict) -> Reader:
    """A reader of 32-pixel samples around the middle."""
    return Reader({"size": 32, "position": "middle", "streams": streams or {"frame": FRAME}}, segments, crops)


def pictures(number: int, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Smooth random frames (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height)) for _ in range(number)]
