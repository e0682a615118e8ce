"""Trainings by their command line that are told to stop, killed, moved, or told what Lightning does otherwise."""

import pytest
import torch

from actionrec.evaluation import scores
from actionrec.modules.checkpoint import read
from tests.conftest import QUICK

STILLS = "experiment=stanford40_frame"
EMA = "lightning.pytorch.callbacks.weight_averaging.EMAWeightAveraging"


@pytest.mark.slow
def test_the_network_that_validation_chose_is_the_one_that_is_measured(tmp_path, paths, run):
    """With an average of the weights that one epoch sets far apart from the weights."""
    outcome = run("train", STILLS, *paths, *QUICK, f"+callbacks.ema={{_target_: {EMA}, decay: 0.9}}")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/demo/stanford40_frame/split1-seed0"
    best, last = (read(folder / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert any(not torch.equal(value, last["current_model_state"][key]) for key, value in best["state_dict"].items())
    for key, value in best["state_dict"].items():
        assert torch.equal(value, last["state_dict"][key]), key
    found = scores.load(folder / "scores_val.npz")
    accuracy = (found.logits.argmax(1) == found.labels).float().mean().item()
    assert accuracy == pytest.approx(best["best"]["value"])
