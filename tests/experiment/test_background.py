"""A chain with the class background: every stage of clips has it, and predict answers it with none of these."""

import json
import shutil

import pytest

from actionrec.evaluation import scores
from actionrec.modules.checkpoint import read
from tests.conftest import QUICK, noise_video

SMALL = (*QUICK, "trainer.precision=32-true", "data.size=32", "data.actions=[clap,wave]")
FEW = ("trainer.limit_train_batches=2",)


@pytest.fixture
def folder(tmp_path):
    """Nine background clips."""
    for number in range(9):
        noise_video(tmp_path / "none" / f"street {number}.avi", 10, seed=number)
    return tmp_path / "none"


@pytest.mark.ci
def test_a_chain_with_background(run, paths, tmp_path, demo_flow, folder):
    own = shutil.copytree(demo_flow, tmp_path / "flow")  # which gets the flow of the background clips
    words = [*paths, f"paths.flow={own}", *SMALL, *FEW]
    outcome = run("chain", *words, f"clips=['data.background={folder}']")
    assert outcome.status == 0, outcome.err
    assert "of the 4 samples are background" not in outcome.err  # stills have none
    for stage in ("hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream"):
        place = tmp_path / "outputs" / "demo" / stage / "split1-seed0"
        assert read(place / "checkpoints" / "best.ckpt")["lineage"]["actions"] == ["clap", "wave", "background"]
        metrics = json.loads((place / "metrics.json").read_text())
        found = scores.load(place / "scores.npz")
        assert metrics["test/background_n"] == sum(name.startswith("background/") for name in found.names) == 2
        assert len(found.names) == metrics["test/n"] == 8
    assert "test: 2 of the 8 samples are background; " in outcome.err
    again = run("chain", *words, f"clips=['data.background={folder}']")
    assert again.out.count("done before") == 4

    outcome = run("predict", str(place), "calibrate=true", "accelerator=cpu")  # with the only clip of validation
    assert outcome.status == 0, outcome.err
    made = json.loads((place / "checkpoints" / "calibration.json").read_text())
    assert made["hours"] == pytest.approx(10 / 25 / 3600)
    predicted = run("predict", str(place), f"source={folder}", "format=json", "accelerator=cpu", "reject=off")
    for each in json.loads(predicted.out):
        assert (each["action"] is None) == (each["top"][0]["action"] == "background")

    noise_video(folder / "street 9.avi", 10, seed=9)
    assert "split lists" in run("chain", *words, f"clips=['data.background={folder}']").err
