"""The effect of the choice of flow on recognition: the flow stage on real motion, over estimators, inputs and seeds."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from actionrec.settings.untrusted import read_config
from benchmarks.common import run_verb
from benchmarks.data import FIGHT_ACTIONS, SILHOUETTE_ACTIONS, fights, silhouettes
from benchmarks.flow.estimators import NAMES

ESTIMATORS = [name for name in NAMES if name not in ("tvl1", "raft_small", "raft_large")]  # those a laptop can
TRAINING = (
    *("experiment=hmdb51_flow", "recipe=strong", "backbone=efficientnet_lite0"),
    *("data.size=96", "trainer.precision=32-true"),
)
SWEEP = ("sweep.name=flow", "seed=0,1,2")
# Estimators with the default input, then other inputs with one of them.
CHOICES = (
    [f"flow={','.join(ESTIMATORS)}"],
    ["flow=dis_medium", "data.flow.representation=magnitude"],
    ["flow=dis_medium", "backbone.stem=random"],
)
EPOCHS = {"silhouettes": 30, "fights": 12}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Extract and train the unfinished parts, then mean and standard deviation of the test accuracy over seeds."""
    rows = []
    sets = {
        "silhouettes": [*silhouettes(options.data), SILHOUETTE_ACTIONS],
        "fights": [*fights(options.data), FIGHT_ACTIONS],
    }
    for name, places in sets.items():
        run_verb("extract_flow", [*places, f"flow={','.join(ESTIMATORS)}", "--multirun"])
        for choice in CHOICES:
            run_verb("train", [*TRAINING, *places, f"trainer.max_epochs={EPOCHS[name]}", *SWEEP, *choice, "--multirun"])
        rows += gather(Path("outputs") / name / "sweeps" / "flow")
    return {}, rows


def gather(sweep: Path) -> list[dict[str, Any]]:
    """A row for each setting of a sweep's finished runs, over its seeds."""
    runs: dict[tuple[str, ...], list[float]] = {}
    for path in sorted(sweep.glob("*/metrics.json")):
        config = read_config(path.with_name("config.yaml"))
        setting = (config["flow"]["name"], config["data"]["flow"]["representation"], config["backbone"]["stem"])
        runs.setdefault(setting, []).append(json.loads(path.read_text())["test/acc"])
    by_setting = sorted(runs.items())
    return [
        {
            "clips": sweep.parents[1].name,
            "estimator": estimator,
            "representation": representation,
            "first convolution": stem,
            "seeds": len(found),
            "test top-1": statistics.mean(found),
            "sd": statistics.stdev(found) if len(found) > 1 else float("nan"),
        }
        for (estimator, representation, stem), found in by_setting
    ]
