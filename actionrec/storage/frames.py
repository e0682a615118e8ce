"""Frames of clips, taken out of the videos once: to read one later takes a millisecond, not decoding up to it."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.settings.untrusted import SHA256, integer, list_of, one_of, table
from actionrec.storage import pictures as clipfile
from actionrec.storage.pictures import clip_path, identify
from actionrec.storage.video import count_frames, ends_early, probe, read_frames
from actionrec.system.errors import ActionRecError
from actionrec.system.gauges import counting
from actionrec.system.locks import only_writer
from actionrec.system.parallel import run_jobs

log = logging.getLogger(__name__)

FORMAT = 1
_MEND = "delete it and run the same command again"
_HEADER = table(
    {
        "format": one_of(FORMAT),
        "frames": integer(1, 10_000_000),
        "indices": list_of(integer(0, 10_000_000), longest=10_000_000),
        "source_bytes": integer(0, 2**62),
        "source_sha256": SHA256,
    },
    ("format", "frames", "indices", "source_bytes", "source_sha256"),
)


def frame_index(fraction: float, n_frames: int) -> int:
    """Index of the frame at a fraction of the clip, both ends included."""
    return min(int(fraction * (n_frames - 1) + 0.5), n_frames - 1)


def window(instant: int, n_frames: int, length: int, stride: int) -> list[int]:
    """Indices of `length` frames, `stride` apart, around the frame `instant`, moved inside the clip at its ends.

    A clip that is shorter than the window is taken from its first frame on, and its last one stands for those that it
    lacks.
    """
    span = (length - 1) * stride + 1
    start = max(min(instant - span // 2, n_frames - span), 0)
    return [min(start + step * stride, n_frames - 1) for step in range(length)]


class Wanted(NamedTuple):
    """Which frames of a clip are taken out: windows around instants."""

    fractions: Sequence[float]  # of the clip, at which the instants are
    length: int = 1  # frames of a window
    stride: int = 1  # from one frame of a window to the next

    def indices(self, n_frames: int) -> set[int]:
        """Indices of those frames in a clip of so many."""
        instants = {frame_index(fraction, n_frames) for fraction in self.fractions}
        return {index for instant in instants for index in window(instant, n_frames, self.length, self.stride)}


def gather(
    clips: Sequence[Clip], folder: Path, fractions: Iterable[float], workers: int, length: int = 1, stride: int = 1
) -> None:
    """Take the frames at `fractions` out of those clips that `folder` does not hold them of yet.

    One process at a time does; another waits, and then finds that there is less to do, or nothing.

    Args:
        clips: whose frames are wanted.
        folder: of the frames.
        fractions: instants, as fractions of a clip.
        workers: processes.
        length: frames around each instant, see `window`.
        stride: from one of them to the next.

    Raises:
        ActionRecError: a clip cannot be decoded.
    """
    wanted = Wanted(tuple(fractions), length, stride)
    if _missing(clips, folder, wanted):  # else the folder need not be one that can be written to
        with only_writer(folder, "frames in", wait=True):
            _gather(clips, folder, wanted, workers)


def _missing(clips: Sequence[Clip], folder: Path, wanted: Wanted) -> dict[Path, tuple[Any, ...]]:
    """Arguments of `_take` for every clip that lacks frames, by its path."""
    return {
        clip.path: (clip, clip_path(folder, clip), wanted)
        for clip in clips
        if not _has(clip_path(folder, clip), clip, wanted)
    }


def _gather(clips: Sequence[Clip], folder: Path, wanted: Wanted, workers: int) -> None:
    jobs = _missing(clips, folder, wanted)
    if not jobs:
        return
    failed, cut = [], []
    with counting("frames", "clips", len(jobs)) as bar:
        for path, result in run_jobs(_take, jobs, workers):
            bar.done += 1
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
    return _header(path)["frames"]


def read(path: Path, indices: Iterable[int]) -> list[np.ndarray]:
    """The frames at `indices`, each (H, W, 3) uint8 RGB.

    Raises:
        ActionRecError: the file is missing or damaged, or does not hold one of them.
    """
    return list(clipfile.read(path, indices, cv2.IMREAD_COLOR_RGB, _MEND))


def _has(path: Path, clip: Clip, wanted: Wanted) -> bool:
    """Whether the file holds those frames of a clip of this size; its hash would take too long at every start."""
    try:
        header = _header(path)
        return _is_of(header, clip) and wanted.indices(header["frames"]) <= set(header["indices"])
    except ActionRecError:
        return False


def _header(path: Path) -> dict[str, Any]:
    """What a file says of itself.

    Raises:
        ActionRecError: the file is missing, damaged, or of another format.
    """
    header = clipfile.read_header(path, _MEND)
    try:
        _HEADER(header, "")
    except ValueError as error:
        raise ActionRecError(f"{path} has no readable header ({error}); {_MEND}") from None
    return header


def _is_of(header: dict[str, Any], clip: Clip) -> bool:
    return header["source_bytes"] == clip.path.stat().st_size


def _take(clip: Clip, path: Path, wanted: Wanted) -> tuple[int, int]:
    """Write the frames that are wanted, and those that the file has; returns how many the clip has and announces."""
    frames = count_frames(clip.path)
    indices = wanted.indices(frames)
    try:
        header = _header(path)
        if _is_of(header, clip) and header["frames"] == frames:
            indices |= set(header["indices"])
    except ActionRecError:
        pass
    kept = sorted(indices)
    pictures = read_frames(clip.path, kept)
    clipfile.write(
        path,
        ((index, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)) for index, picture in zip(kept, pictures, strict=True)),
        lambda: {"format": FORMAT, "frames": frames, "indices": kept, **identify(clip)},
    )
    return frames, probe(clip.path).frames
