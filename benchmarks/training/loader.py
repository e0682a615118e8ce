"""Loaders alone, one process each: stills, frames, flow stacks and pairs, and the PIL pipeline."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader

from actionrec.experiment.build import create_data
from actionrec.system.hardware import disable_malloc_trim
from benchmarks.common import fresh, median
from benchmarks.data import write_stills
from benchmarks.training.plain import BATCH, plain_loader
from benchmarks.training.stages import compose_stage, extract_flow

ROUNDS = 3
EPOCHS = 3  # the first warms up
PHOTOS = 48


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Samples/s of one loader process, `strong` augmentation at 224 px; all take turns."""
    extract_flow(options.data)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        write_stills(photos, PHOTOS, [_photo()])
        loaders: dict[str, Callable[[], Any]] = {
            "PIL stills": lambda: fresh(_plain_rate, options.data),
            "stills": lambda: fresh(_rate, options.data, "frame"),
            "stills, cache=ram": lambda: fresh(_rate, options.data, "frame", "data.cache=ram"),
            "frames": lambda: fresh(_rate, options.data, "hmdb51_frame"),
            "flow": lambda: fresh(_rate, options.data, "flow"),
            "flow, cache=ram": lambda: fresh(_rate, options.data, "flow", "data.cache=ram"),
            "pairs": lambda: fresh(_rate, options.data, "two_stream"),
            "PIL 12-megapixel photos": lambda: fresh(_plain_rate, photos, "all", 8),
            "12-megapixel photos": lambda: fresh(_rate, photos, "frame", "data.actions=all", "data.batch_size=8"),
        }
        rows = [{name: rate() for name, rate in loaders.items()} for _ in range(ROUNDS)]
    rates = {name: median([row[name] for row in rows]) for name in loaders}
    table = [{"loader": name, "samples/s a core": rate} for name, rate in rates.items()]
    figures = {
        "loader/stills_vs_pil": median([row["stills"] / row["PIL stills"] for row in rows]),
        "loader/photos_vs_pil": median([row["12-megapixel photos"] / row["PIL 12-megapixel photos"] for row in rows]),
        "loader/flow_per_core": rates["flow"],
    }
    return figures, table


def _photo() -> np.ndarray:
    """As a camera takes it: 12 megapixels."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (375, 500, 3), np.uint8), (4000, 3000), interpolation=cv2.INTER_CUBIC)


def _plain_rate(data: Path, actions: str = "shared", batch: int = BATCH) -> float:
    return _median_rate(plain_loader(data, 1, actions, batch))


def _rate(data: Path, name: str, *overrides: str) -> float:
    disable_malloc_trim()  # as the trainer does
    module = create_data(compose_stage(data, name, "data.num_workers=1", *overrides))
    return _median_rate(module.train_dataloader())


def _median_rate(loader: DataLoader[Any]) -> float:
    rates = []
    for _ in range(EPOCHS):
        began, samples = time.perf_counter(), 0
        for batch in loader:
            samples += len(batch["label"] if isinstance(batch, dict) else batch[1])
        rates.append(samples / (time.perf_counter() - began))
    return median(rates[1:])
