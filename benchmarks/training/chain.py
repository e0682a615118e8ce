"""Where the time of `make demo` goes, and the cost of loading the libraries."""

import argparse
import re
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
    """A row for each part of the demo: its seconds, and of these the seconds in training epochs.

    The last row is the rest: drawing the demo set, loading the libraries, extracting the flow, writing the page.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        rows = _stages(folder)
        whole = time.perf_counter() - began
    rows.append({"part": "the rest", "seconds": whole - sum(row["seconds"] for row in rows), "epochs": 0.0})
    figures = {
        "demo/seconds": round(whole, 1),
        "demo/epochs_share": round(sum(row["epochs"] for row in rows) / whole, 3),
    }
    return figures | {f"seconds/{name}": _took(command) for name, command in COMMANDS.items()}, rows


def _took(command: list[str]) -> float:
    run = partial(subprocess.run, [sys.executable, *command], capture_output=True)
    return median([seconds(run) for _ in range(RUNS)])


def _stages(outputs: str) -> list[dict[str, Any]]:
    command = ["make", "--no-print-directory", "demo", f"ARGS=paths.outputs={outputs}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    rows: list[dict[str, Any]] = []
    assert process.stdout
    for line in process.stdout:
        now = time.perf_counter()
        if found := re.search(r"\] train (\w+) \(", line):
            rows.append({"part": found[1], "seconds": -now, "epochs": 0.0})
        elif re.match(r"\w+ +trained ", line):
            rows[-1]["seconds"] += now
        elif "] epoch " in line:
            rows[-1]["epochs"] += float(line.split()[-2])
    if process.wait():
        raise ActionRecError("make demo failed")
    return rows
