"""Extracted frames of clips: reading a stored frame takes a millisecond, while a video is decoded up to the frame."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.settings.values import SHA256, integer, list_of, one_of, table
from actionrec.storage import pictures as picture_zip
from actionrec.storage.pictures import clip_path, identify
from actionrec.storage.video import count_frames, ends_early, probe, read_frames
from actionrec.system.errors import ActionRecError
from actionrec.system.gauges import counting
from actionrec.system.locks import only_writer
from actionrec.system.parallel import run_jobs

log = logging.getLogger(__name__)

FORMAT = 1
_HINT = "delete it and run the same command again"
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
    """Index of the frame at a fraction of the clip: 0 is the first frame, 1 the last."""
    return min(int(fraction * (n_frames - 1) + 0.5), n_frames - 1)


def window(instant: int, n_frames: int, length: int, stride: int) -> list[int]:
    """Indices of `length` frames, `stride` apart, around the frame `instant`.

    The window is shifted to stay inside the clip. In a clip shorter than the window it starts at the first frame, and
    the last frame is repeated.
    """
    span = (length - 1) * stride + 1
    start = max(min(instant - span // 2, n_frames - span), 0)
    return [min(start + step * stride, n_frames - 1) for step in range(length)]


class Wanted(NamedTuple):
    """The frames of a clip to extract: windows around instants."""

    fractions: Sequence[float]  # instants, as fractions of the clip
    length: int = 1  # frames per window
    stride: int = 1  # distance between neighbouring frames of a window, in frames

    def indices(self, n_frames: int) -> set[int]:
        """Indices of the wanted frames in a clip of `n_frames` frames."""
        instants = {frame_index(fraction, n_frames) for fraction in self.fractions}
        return {index for instant in instants for index in window(instant, n_frames, self.length, self.stride)}


def extract_missing(
    clips: Sequence[Clip], folder: Path, fractions: Iterable[float], workers: int, length: int = 1, stride: int = 1
) -> None:
    """Extract the frames at `fractions` of all clips for which `folder` lacks them.

    One process extracts at a time; other processes wait for the lock and then extract only frames still missing.

    Args:
        clips: clips whose frames are wanted.
        folder: folder of the extracted frames.
        fractions: instants, as fractions of a clip.
        workers: number of processes.
        length: frames around each instant, see `window`.
        stride: distance between these frames, see `window`.

    Raises:
        ActionRecError: a clip cannot be decoded.
    """
    wanted = Wanted(tuple(fractions), length, stride)
    # Not in Lightning's prepare_data, which a trainer calls once a node: data are set up before there is a trainer,
    # because the network is made for them; a measurement asks for further instants; and other runs use the folder too.
    if _missing(clips, folder, wanted):  # a complete folder may be read-only, so the lock is not taken
        with only_writer(folder, "frames in", wait=True):
            _extract(clips, folder, wanted, workers)


def _missing(clips: Sequence[Clip], folder: Path, wanted: Wanted) -> dict[Path, tuple[Any, ...]]:
    """Arguments of `_extract_clip`, by the path of every clip whose frames are missing."""
    return {
        clip.path: (clip, clip_path(folder, clip), wanted)
        for clip in clips
        if not _has(clip_path(folder, clip), clip, wanted)
    }


def _extract(clips: Sequence[Clip], folder: Path, wanted: Wanted, workers: int) -> None:
    jobs = _missing(clips, folder, wanted)
    if not jobs:
        return
    failed, cut = [], []
    with counting("frames", "clips", len(jobs)) as bar:
        for path, result in run_jobs(_extract_clip, jobs, workers):
            bar.done += 1
            if isinstance(result, ActionRecError):
                failed.append(str(result))
            elif ends_early(*result):
                cut.append(path)
    if cut:
        log.warning(
            "%d of %d clips have far fewer frames than their files announce and may be truncated (first: %s)",
            *(len(cut), len(clips), min(cut)),
        )
    if failed:
        raise ActionRecError(
            f"frames of {len(failed)} of {len(clips)} clips cannot be extracted (first: {min(failed)})"
        )
    log.info("extracted frames of %d clips into %s", len(jobs), folder)


def count(path: Path) -> int:
    """Number of frames of the whole clip, from the header of its file of extracted frames."""
    return _header(path)["frames"]


def read(path: Path, indices: Iterable[int]) -> list[np.ndarray]:
    """The frames at `indices`, each (H, W, 3) uint8 RGB.

    Raises:
        ActionRecError: the file is missing or damaged, or lacks one of the frames.
    """
    return list(picture_zip.read(path, indices, cv2.IMREAD_COLOR_RGB, _HINT))


def _has(path: Path, clip: Clip, wanted: Wanted) -> bool:
    """Whether the file holds the wanted frames of a clip of this size; hashing clips at every start would be slow."""
    try:
        header = _header(path)
        return _is_of(header, clip) and wanted.indices(header["frames"]) <= set(header["indices"])
    except ActionRecError:
        return False


def _header(path: Path) -> dict[str, Any]:
    """The checked header of a file.

    Raises:
        ActionRecError: the file is missing or damaged, or has another format.
    """
    header = picture_zip.read_header(path, _HINT)
    try:
        _HEADER(header, "")
    except ValueError as error:
        raise ActionRecError(f"{path} has no readable header ({error}); {_HINT}") from None
    return header


def _is_of(header: dict[str, Any], clip: Clip) -> bool:
    return header["source_bytes"] == clip.path.stat().st_size


def _extract_clip(clip: Clip, path: Path, wanted: Wanted) -> tuple[int, int]:
    """Write the wanted frames, and frames that the file already holds.

    Returns:
        The number of frames of the clip, and the number that its container announces.
    """
    frames = count_frames(clip.path)
    indices = wanted.indices(frames)
    try:
        header = _header(path)
        if _is_of(header, clip) and header["frames"] == frames:
            indices |= set(header["indices"])
    except ActionRecError:
        pass
    in_order = sorted(indices)
    with picture_zip.create(path) as file:
        for index, picture in zip(in_order, read_frames(clip.path, in_order), strict=True):
            file.add(index, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        file.add_header({"format": FORMAT, "frames": frames, "indices": in_order, **identify(clip)})
    return frames, probe(clip.path).frames
