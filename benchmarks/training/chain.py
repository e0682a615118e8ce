"""Where the time of `make demo` goes, and what loading the libraries costs."""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

from actionrec.system.errors import ActionRecError
from benchmarks.common import median, seconds

RUNS = 3
COMMANDS = {
    "train --help": ["-m", "actionrec", "train", "--help"],
    "import torch": ["-c", "import torch"],
    "import lightning": ["-c", "import lightning"],
    "import actionrec.experiment.training": ["-c", "import actionrec.experiment.training"],
}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A row for each process of the demo: seconds until it says something, until it ends, and of these in its epochs.

    What is left is measuring and writing. Start-up is what passes before the first word, so that of a stage holds
    the imports and the indexing of its data.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = _phases(folder)
    whole = sum(row["seconds"] for row in rows)
    figures = {
        "demo/seconds": round(whole, 1),
        "demo/startup_share": round(sum(row["start-up"] for row in rows) / whole, 3),
        "demo/epochs_share": round(sum(row["epochs"] for row in rows) / whole, 3),
    }
    return figures | {f"seconds/{name}": _took(command) for name, command in COMMANDS.items()}, rows


def _took(command: list[str]) -> float:
    run = partial(subprocess.run, [sys.executable, *command], capture_output=True)
    return median([seconds(run) for _ in range(RUNS)])


def _phases(outputs: str) -> list[dict[str, Any]]:
    command = ["make", "--no-print-directory", "demo", f"ARGS=paths.outputs={outputs}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    rows: list[dict[str, Any]] = []
    assert process.stdout
    for line in process.stdout:
        now = time.perf_counter()
        if " -m actionrec." in line:  # Make says what it starts
            words = line.split()
            name = " ".join(word for word in words if word.startswith(("actionrec.", "experiment=")))
            rows.append({"process": name, "began": now, "start-up": None, "seconds": 0.0, "epochs": 0.0})
        elif rows:
            if rows[-1]["start-up"] is None:
                rows[-1]["start-up"] = now - rows[-1]["began"]
            if "] epoch " in line:
                rows[-1]["epochs"] += float(line.split()[-2])
    if process.wait():
        raise ActionRecError("make demo failed")
    ends = [*(row["began"] for row in rows[1:]), time.perf_counter()]
    for row, end in zip(rows, ends, strict=True):
        row["seconds"] = end - row.pop("began")
    return rows
