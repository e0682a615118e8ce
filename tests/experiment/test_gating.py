"""The fit of a gate to the scores of a stage's folds."""

import json
import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from actionrec.evaluation import scores
from actionrec.evaluation.scores import Scores
from actionrec.experiment import gating
from actionrec.networks.fusions import Gated
from actionrec.runs import folds
from actionrec.system.errors import ActionRecError

ACTIONS = ("clap", "run", "wave")


@pytest.fixture
def config(tmp_path):
    """A gated stage, whose frame stream knows the label and whose flow stream does not."""
    generator = np.random.default_rng(0)
    for stream, strength in (("frame", 3.0), ("flow", 0.0)):
        for fold in range(folds.COUNT + 1):
            labels = torch.arange(30) % 3
            logits = strength * torch.eye(3)[labels] + torch.from_numpy(generator.normal(size=(30, 3))).float()
            names = [f"clip{fold}-{row}.avi" for row in range(30)]
            groups = [f"source{fold}-{row // 3}" for row in range(30)]
            run = folds.fold_run(tmp_path / stream / "split1-seed0", fold)
            run.mkdir(parents=True)
            protocol = {"segments": 1, "crops": 1, "checkpoint": f"{stream}{fold}", "names": str(fold)}
            scores.save(Scores(names, logits, labels, ACTIONS, groups, protocol), run / scores.FILES["val"])
    best = {stream: f"{tmp_path}/{stream}/split1-seed0/checkpoints/best.ckpt" for stream in ("frame", "flow")}
    return OmegaConf.create({"model": {"fusion": "gated"}, "init_from": best})


@pytest.fixture
def network():
    network = nn.Module()
    network.fusion = Gated({"frame": nn.Identity(), "flow": nn.Identity()}, 3)
    return network


def test_the_fusion_is_that_of_the_clips_that_were_held_out(config, network):
    record = gating.fit(network, config)
    assert record["chosen"] == "frame alone"
    assert record["single"] == "frame"
    assert (record["clips"], record["sources"]) == (150, 50)
    assert network.fusion.used(["frame", "flow"]) == ["frame"]
    logits = {"frame": torch.randn(4, 3), "flow": torch.full((4, 3), torch.nan)}  # which is not computed
    streams = {name: nn.Identity() for name in logits}
    temperature = record["temperatures"][0]
    expected = (logits["frame"] / temperature).log_softmax(1)
    torch.testing.assert_close(network.fusion(streams, logits).log_softmax(1), expected)
    json.dumps(record)


def test_a_fold_that_is_missing_is_named(config, network, tmp_path):
    shutil.rmtree(tmp_path / "flow/folds/split1-seed0-fold3")
    with pytest.raises(ActionRecError, match=r"split1-seed0-fold3 has no scores_val.npz.*fold 3.*actionrec chain"):
        gating.fit(network, config)


def test_folds_that_hold_out_the_same_clips_are_refused(config, network, tmp_path):
    runs = [folds.fold_run(tmp_path / "frame/split1-seed0", fold) / "scores_val.npz" for fold in (1, 2)]
    shutil.copy(*runs)
    with pytest.raises(ActionRecError, match="folds of the frame stream hold out the same clips"):
        gating.fit(network, config)


@pytest.mark.parametrize("init_from", [None, {"frame": "a/b/c/best.ckpt", "flow": None}, "a/b/c/best.ckpt"])
def test_a_gate_needs_a_network_of_each_stream(network, init_from):
    with pytest.raises(ActionRecError, match=r"model.fusion=gated needs a trained network of each stream"):
        gating.fit(network, OmegaConf.create({"model": {"fusion": "gated"}, "init_from": init_from}))
