"""Peak memory of extraction by the length of the clips."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actionrec.system.errors import ActionRecError
from benchmarks.common import megabytes

WORKERS = 2
ESTIMATOR = "dis_ultrafast"  # for the time that the long clips take
LONG_FRAMES = 20_000


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Peak memory of the verb and its two processes together, in MB; shared pages are counted once."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for action in ("first", "second"):  # one for each process
            _write_clip(folder / "long" / action / f"a_{action}_0.avi", LONG_FRAMES)
        for videos in (options.data / "hmdb51_clips", folder / "long"):
            lists, store = folder / f"{videos.name}-lists", folder / f"{videos.name}-flow"
            _write_lists(videos, lists)
            places = [f"paths.hmdb51={videos}", f"paths.hmdb51_splits={lists}", f"paths.flow={store}"]
            rows.append({"clips": videos.name, "peak MB": _peak(places)})
    return {"peak_memory_mb": max(row["peak MB"] for row in rows)}, rows


def _peak(places: list[str]) -> float:
    settings = [f"flow={ESTIMATOR}", f"workers={WORKERS}", "data.actions=all", "paths=real"]
    command = [sys.executable, "-m", "actionrec", "extract_flow", *settings, *places]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, megabytes(process.pid))
            time.sleep(0.05)
        if process.returncode:
            said.seek(0)
            raise ActionRecError(f"extraction failed: {said.read().strip().splitlines()[-1]}")
    return round(peak, 1)


def _write_lists(videos: Path, lists: Path) -> None:
    lists.mkdir(exist_ok=True)
    for folder in videos.iterdir():
        names = "".join(f"{path.name} 1\n" for path in folder.glob("*.avi"))
        (lists / f"{folder.name}_test_split1.txt").write_text(names, encoding="utf-8")


def _write_clip(path: Path, frames: int) -> None:
    """A drifting texture, 320x240."""
    path.parent.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    texture = cv2.resize(noise, (640, 240))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, (320, 240))
    for frame in range(frames):
        left = abs(frame * 2 % 640 - 320)
        writer.write(np.ascontiguousarray(texture[:, left : left + 320]))
    writer.release()
