"""Frames of clips, taken out of the videos once: to read one later takes a millisecond, not decoding up to it."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from actionrec import clipfile
from actionrec.clipfile import clip_path, identify
from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from actionrec.parallel import run_jobs
from actionrec.video import count_frames, ends_early, probe, read_frames

log = logging.getLogger(__name__)

FORMAT = 1
_MEND = "delete it and run the same command again"


def frame_index(fraction: float, n_frames: int) -> int:
    """Index of the frame at a fraction of the clip, both ends included."""
    return min(int(fraction * (n_frames - 1) + 0.5), n_frames - 1)


def gather(clips: Sequence[Clip], folder: Path, fractions: Iterable[float], workers: int) -> None:
    """Take the frames at `fractions` out of those clips that `folder` does not hold them of yet.

    Raises:
        ActionRecError: a clip cannot be decoded.
    """
    wanted = tuple(fractions)
    jobs = {
        clip.path: (clip, clip_path(folder, clip), wanted)
        for clip in clips
        if not _has(clip_path(folder, clip), clip, wanted)
    }
    if not jobs:
        return
    failed, cut = [], []
    for path, result in tqdm(run_jobs(_take, jobs, workers), "frames", len(jobs), unit="clip", disable=None):
        if isinstance(result, ActionRecError):
            failed.append(str(result))
        elif ends_early(*result):
            cut.append(path)
    if cut:
        log.warning(
            "%d of %d clips have far fewer frames than their files announce, cut short perhaps (first: %s)",
            *(len(cut), len(clips), min(cut)),
        )
    if failed:
        raise ActionRecError(f"{len(failed)} of {len(clips)} clips have no frames (first: {min(failed)})")
    log.info("%s: frames of %d clips", folder, len(jobs))


def count(path: Path) -> int:
    """Number of frames of the clip whose file this is, of which some are held."""
    return clipfile.read_header(path, _MEND)["frames"]


def read(path: Path, indices: Iterable[int]) -> list[np.ndarray]:
    """The frames at `indices`, each (H, W, 3) uint8 RGB.

    Raises:
        ActionRecError: the file is missing or damaged, or does not hold one of them.
    """
    return list(clipfile.read(path, indices, cv2.IMREAD_COLOR_RGB, _MEND))


def _has(path: Path, clip: Clip, fractions: Sequence[float]) -> bool:
    """Whether the file holds those frames of a clip of this size; its hash would take too long at every start."""
    try:
        header = clipfile.read_header(path, _MEND)
        indices = {frame_index(fraction, header["frames"]) for fraction in fractions}
        return header["format"] == FORMAT and _is_of(header, clip) and indices <= set(header["indices"])
    except (ActionRecError, KeyError):
        return False


def _is_of(header: dict[str, Any], clip: Clip) -> bool:
    return header["source_bytes"] == clip.path.stat().st_size


def _take(clip: Clip, path: Path, fractions: Sequence[float]) -> tuple[int, int]:
    """Write the frames at `fractions`, and those that the file has; returns how many the clip has and announces."""
    frames = count_frames(clip.path)
    indices = {frame_index(fraction, frames) for fraction in fractions}
    try:
        header = clipfile.read_header(path, _MEND)
        if _is_of(header, clip) and header["frames"] == frames:
            indices |= set(header["indices"])
    except (ActionRecError, KeyError):
        pass
    kept = sorted(indices)
    pictures = read_frames(clip.path, kept)
    clipfile.write(
        path,
        ((index, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)) for index, picture in zip(kept, pictures, strict=True)),
        lambda: {"format": FORMAT, "frames": frames, "indices": kept, **identify(clip)},
    )
    return frames, probe(clip.path).frames
