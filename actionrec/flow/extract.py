"""Extraction of the flow of many clips into a store, in parallel over clips; running it again does what is missing."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from actionrec.flow import store
from actionrec.flow.estimators import create
from actionrec.flow.field import quantize
from actionrec.flow.store import FlowSettings
from actionrec.video import iter_gray


class Summary(NamedTuple):
    """What an extraction did; `failed` has one line per clip."""

    extracted: int
    fields: int
    skipped: int
    failed: list[str]


def clip_fields(path: Path, settings: FlowSettings) -> Iterator[np.ndarray]:
    """Codes (H, W, 2) uint8 of a clip's N-1 fields, field i from frame i to frame i+1, decoding it once."""
    estimate = create(settings.algorithm, settings.params)
    frames = iter_gray(path)
    previous = next(frames)
    for frame in frames:
        yield quantize(estimate(previous, frame), settings.bound)
        previous = frame


def extract(clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int) -> Summary:
    """Extract the flow of `clips` that `folder` does not hold yet; a clip that fails does not stop the others."""
    create(settings.algorithm, settings.params)  # a wrong setting is one message, not one per clip
    fields, skipped, failed = 0, 0, []
    with ProcessPoolExecutor(workers, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        jobs = [pool.submit(_extract_one, clip, store.flow_path(folder, clip), settings) for clip in clips]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="flow", unit="clip", disable=None):
            try:
                written = job.result()
            except ActionRecError as error:
                failed.append(str(error))
                continue
            fields += written
            skipped += not written
    return Summary(len(clips) - skipped - len(failed), fields, skipped, sorted(failed))


def _extract_one(clip: Clip, path: Path, settings: FlowSettings) -> int:
    """Number of fields written; 0 if they were there."""
    if store.is_complete(path, clip, settings):
        return 0
    return store.write(path, clip, clip_fields(clip.path, settings), settings).fields
