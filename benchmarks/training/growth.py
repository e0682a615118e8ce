"""Samples/s and memory of the loader against the number of images, the batch and the processes."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from actionrec.experiment.build import create_data
from actionrec.system.hardware import disable_malloc_trim
from benchmarks.common import fresh, megabytes
from benchmarks.data import small_pictures, write_stills
from benchmarks.training.stages import compose_stage

DIFFERENT = 500  # images; the rest are further names of theirs
SAMPLES = 4096  # read of each set
# Images, batch, processes; what does not vary is as in the first row.
SETTINGS = (
    *((1_000, 32, 1), (10_000, 32, 1), (100_000, 32, 1)),
    *((10_000, 8, 1), (10_000, 128, 1), (10_000, 512, 1)),
    *((10_000, 32, 0), (10_000, 32, 2), (10_000, 32, 4)),
)


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A row for each setting; memory is that of the process and its loaders, of shared pages each its share."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for images in sorted({images for images, _, _ in SETTINGS}):
            write_stills(Path(folder) / str(images), images, small_pictures(DIFFERENT))
        for images, batch, workers in SETTINGS:
            rate, memory = fresh(_grow, Path(folder) / str(images), batch, workers)
            rows.append(
                {"images": images, "batch": batch, "processes": workers, "samples/s": rate, "memory MB": memory}
            )
    of = {(row["images"], row["batch"], row["processes"]): row for row in rows}
    few, many = of[1_000, 32, 1], of[100_000, 32, 1]
    figures = {
        "growth/samples_100k_to_1k": round(many["samples/s"] / few["samples/s"], 3),
        "growth/memory_100k_minus_1k_mb": round(many["memory MB"] - few["memory MB"], 1),
    }
    return figures, rows


def _grow(data: Path, batch: int, workers: int) -> tuple[float, float]:
    disable_malloc_trim()
    settings = ["data.actions=all", f"data.batch_size={batch}", f"data.num_workers={workers}"]
    loader = create_data(compose_stage(data, "frame", *settings)).train_dataloader()
    began, samples = 0.0, -1
    while samples < SAMPLES:
        for each in loader:
            if samples < 0:  # processes have started
                began, samples = time.perf_counter(), 0
                continue
            samples += len(each["label"])
            if samples >= SAMPLES:
                break
    rate = samples / (time.perf_counter() - began)
    return rate, megabytes()
