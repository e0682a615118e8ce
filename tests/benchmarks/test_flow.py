import json
import subprocess
import sys

import numpy as np
import pytest

from actionrec.flow.estimators import Estimator
from benchmarks.common import keep, table
from benchmarks.flow.accuracy import gather
from benchmarks.flow.estimators import _error, motions
from tests.conftest import noise_video


@pytest.mark.parametrize("motion", motions())
def test_the_error_of_the_true_field_is_zero_and_of_rest_the_motion(motion):
    matrix = motions()[motion]
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    there = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
    true = (there - np.stack([x, y], axis=-1)).astype(np.float32)
    frame = np.zeros((240, 320, 3), np.uint8)
    assert _error(Estimator(lambda frames: [true], colour=True), frame, matrix) == pytest.approx(0, abs=1e-5)
    if motion.endswith("px"):
        rest = _error(Estimator(lambda frames: [0 * true], colour=True), frame, matrix)
        assert rest == pytest.approx(float(motion.split()[0]), abs=1e-4)


def test_accuracy_is_gathered_over_seeds(tmp_path):
    sweep = tmp_path / "fights" / "sweeps" / "flow"
    for seed, accuracy in ((0, 0.5), (1, 0.7)):
        run = sweep / f"flow-dis_fast_seed-{seed}"
        run.mkdir(parents=True)
        (run / "metrics.json").write_text(json.dumps({"test/acc": accuracy}))
        config = "flow: {name: dis_fast}\ndata: {flow: {representation: xy}}\nbackbone: {stem: inflate}\n"
        (run / "config.yaml").write_text(config)
    (sweep / "unfinished.partial").mkdir()
    [row] = gather(sweep)
    assert (row["clips"], row["estimator"], row["seeds"]) == ("fights", "dis_fast", 2)
    assert row["test top-1"] == pytest.approx(0.6)
    assert row["sd"] == pytest.approx(0.1414, abs=1e-3)


def test_figures_are_kept_beside_earlier_ones(tmp_path):
    path = tmp_path / "benchmarks" / "flow.json"
    keep(path, {"a": 1.0})
    keep(path, {"b": 2.0})
    figures = json.loads(path.read_text())
    assert (figures["a"], figures["b"]) == (1.0, 2.0)
    assert "Python" in figures["machine"]
    assert table([{"a": 1.23456, "b": "x"}]).splitlines() == ["| a    | b |", "| ---- | - |", "| 1.23 | x |"]


@pytest.mark.ci
def test_the_command_line_leaves_the_named_figures(tmp_path):
    for action in ("wave", "clap"):
        noise_video(tmp_path / "data" / "hmdb51_clips" / action / f"a_{action}_0.avi", 8)
    output = tmp_path / "flow.json"
    command = [sys.executable, "-m", "benchmarks.flow", "speed", "formats"]
    places = ["--data", str(tmp_path / "data"), "--demo", "none", "--output", str(output)]
    done = subprocess.run([*command, *places], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())
    named = {"limit_ratio/farneback", "limit_ratio/dis_medium", "vs_notebook/farneback", "vs_notebook/default"}
    assert all(figures[key] > 0 for key in named)
    assert "zip of JPEG 95" in done.stdout
    refused = subprocess.run([*command, "--data", str(tmp_path)], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "error: no <action>/*.avi under" in refused.stderr
