"""Whether what makes training fast changes what it learns: stage 1 on real stills, over settings and seeds."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from actionrec.runs.folder import job_name
from benchmarks.common import run_verb

TRAINING = (
    *("experiment=stanford40_frame", "recipe=strong", "backbone=efficientnet_lite0"),
    *("paths=real", "paths.name=stills", "data.size=96", "trainer.max_epochs=3", "sweep.name=training"),
)
# Written as Hydra writes them, since runs are found by it.
PLAIN = ("trainer.precision=32-true", "optimizer.fused=False")
# What is added to a float32 run without any of them, and the seeds of it.
TRICKS: dict[str, tuple[tuple[str, ...], int]] = {
    "none": (PLAIN, 3),
    "bf16": (("trainer.precision=bf16-mixed", "optimizer.fused=False"), 3),
    "fused": (("trainer.precision=32-true", "optimizer.fused=True"), 1),
    "cache=ram": ((*PLAIN, "data.cache=ram"), 1),
    "compile": ((*PLAIN, "compile=True"), 1),
}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Train what is not finished, then test accuracy and loss of each seed; the spread is that of `none`."""
    rows = []
    for name, (overrides, seeds) in TRICKS.items():
        stills = f"paths.stanford40={options.data / 'stanford40'}"
        chosen = ",".join(str(seed) for seed in range(seeds))
        settings = [*TRAINING, stills, *overrides]
        run_verb("train", [*settings, f"seed={chosen}", f"tag={name}", "--multirun"])
        for seed in range(seeds):
            run = Path("outputs/stills/sweeps/training") / job_name(
                [f"seed={seed}"], ["seed"] if seeds > 1 else [], name
            )
            metrics = json.loads((run / "metrics.json").read_text())
            rows.append({"with": name, "seed": seed, "test top-1": metrics["test/acc"], "loss": metrics["test/loss"]})
    accuracy = {name: [row["test top-1"] for row in rows if row["with"] == name] for name in TRICKS}
    spread = statistics.stdev(accuracy["none"])
    figures = {"accuracy/spread_over_seeds": round(spread, 4)}
    for name in TRICKS:
        if name != "none":
            pairs = zip(accuracy[name], accuracy["none"], strict=False)
            differences = [with_it - without for with_it, without in pairs]
            figures[f"accuracy/{name}_minus_none"] = round(statistics.mean(differences), 4)
    return figures, rows
