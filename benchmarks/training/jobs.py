"""Memory of a process that trains one job of a multirun after the other."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from actionrec.commands import train
from benchmarks.common import fresh, megabytes
from benchmarks.data import small_pictures, write_stills

JOBS = 8
IMAGES = 400


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A row for each job: the memory of its process once it has ended."""
    with tempfile.TemporaryDirectory() as folder:
        write_stills(Path(folder), IMAGES, small_pictures(IMAGES))
        memory = fresh(_jobs, Path(folder))
    rows = [{"job": job, "memory MB": each} for job, each in enumerate(memory, start=1)]
    return {"jobs/memory_mb_a_job": round((memory[-1] - memory[1]) / (JOBS - 2), 1)}, rows


def _jobs(data: Path) -> list[float]:
    settings = ["experiment=stanford40_frame", "recipe=strong", "backbone.weights=null", "trainer.max_epochs=1"]
    places = ["paths=real", f"paths.stanford40={data / 'stanford40'}", f"paths.outputs={data / 'outputs'}"]
    options = ["data.actions=all", "data.size=64", "data.num_workers=0", "data.cache=ram"]
    memory = []
    for job in range(JOBS):
        sys.argv = ["train", *settings, *places, *options, f"seed={job}", "--multirun"]
        train.main()
        memory.append(megabytes())
    return memory
