"""Extraction from end to end, against the bare algorithm and against the way of the usual notebook."""

import argparse
import multiprocessing
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.flow.estimators import create
from actionrec.flow.extract import extract
from actionrec.storage.flow import FlowSettings
from actionrec.storage.video import iter_gray
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores
from benchmarks.common import clips_under, median, seconds
from benchmarks.flow.estimators import DEFAULT, settings_of

ROUNDS = 3
SOME = 60  # clips, where there are more, for what has no start that must be spread over many
# Clips are extracted this often under other names, so that a run lasts long enough to be timed.
COPIES = {"farneback": 1, "dis_medium": 2, "dis_balanced": 2, "dis_fast": 4, "dis_ultrafast": 8}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Ratios of fields a second, each the median of several rounds in which both sides take turns."""
    sets = {"": clips_under(options.data / "hmdb51_clips")}
    if options.demo.is_dir():
        sets["/demo"] = clips_under(options.demo)[::3]  # enough for the start not to count
    figures: dict[str, float] = {}
    rows = []
    for suffix, clips in sets.items():
        some = clips[:: max(len(clips) // SOME, 1)]
        copies = COPIES if len(some) == len(clips) else dict.fromkeys(COPIES, 1)
        ratios: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            notebook = _notebook(some)
            for name in dict.fromkeys(("farneback", "dis_medium", DEFAULT)):
                bare = _bare(some, settings_of(name))
                ours = _extractor(clips, settings_of(name), copies[name])
                rows.append(
                    {
                        "clips": suffix.strip("/") or "hmdb51",
                        "estimator": name,
                        "bare fields/s": bare,
                        "extractor fields/s": ours,
                        "notebook fields/s": notebook,
                    }
                )
                ratios.setdefault(f"limit_ratio/{name}{suffix}", []).append(ours / bare)
                if name == "farneback":
                    ratios.setdefault(f"vs_notebook/farneback{suffix}", []).append(ours / notebook)
                if name == DEFAULT:
                    ratios.setdefault(f"vs_notebook/default{suffix}", []).append(ours / notebook)
        figures |= {key: median(values) for key, values in ratios.items()}
    return figures, rows


def _bare(clips: Sequence[Clip], settings: FlowSettings) -> float:
    """Fields a second of the algorithm alone: gray frames in memory, one thread, a process on every core at once.

    Every process is timed by itself, once its frames are decoded.
    """
    cores = usable_cores()
    jobs = [(clips[core::cores] or clips, settings) for core in range(cores)]
    with multiprocessing.get_context("fork").Pool(cores, cv2.setNumThreads, (0,)) as pool:
        return sum(pool.starmap(_bare_rate, jobs, chunksize=1))


def _bare_rate(clips: Sequence[Clip], settings: FlowSettings) -> float:
    estimator = create(settings.algorithm, settings.params)
    frames = [list(iter_gray(clip.path)) for clip in clips]
    fields = sum(len(each) - 1 for each in frames)
    return fields / seconds(lambda: [estimator.fields(each) for each in frames])


def _extractor(clips: Sequence[Clip], settings: FlowSettings, copies: int) -> float:
    """Fields a second of `extract`, from the start of its processes to the last renamed file."""
    with tempfile.TemporaryDirectory() as folder:
        named = [
            Clip(Path(folder) / "clips" / clip.action / f"{copy}-{clip.path.name}", clip.action, "")
            for copy in range(copies)
            for clip in clips
        ]
        for copied, clip in zip(named, list(clips) * copies, strict=True):
            copied.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(clip.path, copied.path)
        summary = extract(named, Path(folder) / "flow", settings, usable_cores())
        if summary.failed:
            raise ActionRecError(summary.failed[0])
        return summary.fields / summary.seconds


def _notebook(clips: Sequence[Clip]) -> float:
    """Fields a second the notebook way: a seek for every frame, Farneback with the reference's parameters, the
    magnitude of every field as a JPEG, in one process with OpenCV's own threads.
    """
    fields = 0

    def work() -> None:
        nonlocal fields
        with tempfile.TemporaryDirectory() as folder:
            for clip in clips:
                fields += _notebook_clip(clip, Path(folder))

    threads = cv2.getNumThreads()
    cv2.setNumThreads(-1)
    took = seconds(work)
    cv2.setNumThreads(threads)
    return fields / took


def _notebook_clip(clip: Clip, folder: Path) -> int:
    capture = cv2.VideoCapture(str(clip.path))
    previous, fields = None, 0
    for index in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        read, frame = capture.read()
        if not read:
            break
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if previous is not None:
            field = cv2.calcOpticalFlowFarneback(previous, gray, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            magnitude, _ = cv2.cartToPolar(field[..., 0], field[..., 1])
            picture = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
            cv2.imwrite(str(folder / f"{clip.path.stem}_{index:05d}.jpg"), picture)
            fields += 1
        previous = gray
    return fields
