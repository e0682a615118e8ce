"""Extraction of the flow of many clips into a store, in parallel over clips; running it again does what is missing."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.flow.estimators import create, is_own
from actionrec.flow.field import quantize
from actionrec.storage import flow as store
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.storage.video import ends_early, iter_frames, iter_gray, probe, resize_short_side
from actionrec.system.errors import ActionRecError
from actionrec.system.files import remove_leftovers
from actionrec.system.gauges import counting
from actionrec.system.locks import only_writer
from actionrec.system.parallel import advance, run_jobs

log = logging.getLogger(__name__)


class Summary(NamedTuple):
    """What an extraction did; `failed` has one line a clip."""

    written: int
    fields: int
    bytes: int
    skipped: int
    failed: list[str]
    seconds: float


class _Work(NamedTuple):
    """What a clip will take, as its container says."""

    fields: int
    pixels: int


class _Written(NamedTuple):
    fields: int
    bytes: int


# What computes or reads a clip's fields, as codes (2, H, W) uint8.
Source = Callable[[Clip, FlowSettings], Iterable[np.ndarray]]


def clip_fields(clip: Clip, settings: FlowSettings) -> Iterator[np.ndarray]:
    """Codes (2, H, W) uint8 of a clip's N-1 fields, field i from frame i to frame i+1.

    The clip is decoded once, in sequence, and never held whole.

    Raises:
        ActionRecError: it cannot be decoded, or its frames are nothing for this estimator.
    """
    estimator = create(settings.algorithm, settings.params)
    window: list[np.ndarray] = []
    try:
        for frame in iter_frames(clip.path) if estimator.colour else iter_gray(clip.path):
            window.append(resize_short_side(frame, settings.short_side) if settings.short_side else frame)
            if len(window) > estimator.batch:
                yield from (quantize(field, settings.bound) for field in estimator.fields(window))
                window = window[-1:]
        if len(window) > 1:
            yield from (quantize(field, settings.bound) for field in estimator.fields(window))
    except cv2.error as error:
        raise ActionRecError(f"{clip.path}: {settings.algorithm} fails on its frames: {error.err}") from None


def shard(clips: Sequence[Clip], count: int, index: int) -> list[Clip]:
    """The clips of one of `count` disjoint shards of about the same number of bytes, the same on every machine."""
    if not 0 <= index < count:
        raise ActionRecError(f"shard.count={count} shard.index={index}: the index goes from 0 to count-1")
    return sorted(clips, key=lambda clip: (-clip.path.stat().st_size, clip.action, clip.path.name))[index::count]


def extract(clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int, part: str = "") -> Summary:
    """Extract the flow of `clips` that `folder` does not hold yet, the longest first; see `fill`."""
    create(settings.algorithm, settings.params)  # a wrong setting is one message, not one a clip
    return fill(clips, folder, settings, workers, clip_fields, part)


def fill(
    clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int, source: Source, part: str = ""
) -> Summary:
    """Write the fields that `source` gives for each of `clips`, but for those that `folder` holds already.

    A clip that fails, or whose process dies, does not stop the others.

    Args:
        clips: to write the flow of.
        folder: the store.
        settings: of the flow.
        workers: processes.
        source: gives a clip's fields.
        part: names the part of the store that is written, of which one process at a time is the writer; empty for
            the whole. Parts may be written side by side; clips that two of them share are written twice, and right.

    Raises:
        ActionRecError: `folder` holds flow of other settings, cannot be written, or another process writes this part.
    """
    with only_writer(folder.with_name(f"{folder.name}.{part}") if part else folder, "flow store"):
        return _fill(clips, folder, settings, workers, source)


def _fill(clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int, source: Source) -> Summary:
    began = time.perf_counter()
    work, failed = _missing(clips, folder, settings, workers)
    skipped = len(clips) - len(work) - len(failed)
    paths = [clip_path(folder, clip) for clip in work]
    jobs = {clip.path: (clip, path, settings, source) for clip, path in zip(work, paths, strict=True)}
    written: list[_Written] = []
    announced, cut = {clip.path: fields for clip, fields in work.items()}, []
    remove_leftovers(paths)
    spawned = settings.algorithm == "raft" or is_own(settings.algorithm)  # torch does not survive a fork with threads
    try:
        with counting("flow", "fields", sum(work.values())) as bar:
            for video, result in run_jobs(
                _write, jobs, workers, lambda done: setattr(bar, "done", done), spawn=spawned
            ):
                if isinstance(result, ActionRecError):
                    failed.append(str(result))
                else:
                    written.append(result)
                    if ends_early(result.fields + 1, announced[video] + 1):
                        cut.append(video)
                bar.note = f"{len(written)}/{len(jobs)} clips"
    except OSError as error:
        raise ActionRecError(
            f"cannot write flow to {folder}: {error.strerror}; {len(written)} of {len(jobs)} clips are done, "
            "mend that and run the same command again for the rest"
        ) from None
    except (KeyboardInterrupt, SystemExit):
        log.error(
            "interrupted: %d of %d clips are done; run the same command again for the rest", len(written), len(jobs)
        )
        raise
    finally:
        remove_leftovers(paths)
    if cut:
        log.warning(
            "the flow of %d clips covers far fewer frames than their files announce, cut short perhaps (first: %s)",
            *(len(cut), min(cut)),
        )
    fields, size = sum(clip.fields for clip in written), sum(clip.bytes for clip in written)
    return Summary(len(written), fields, size, skipped, sorted(failed), time.perf_counter() - began)


def verify(clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int) -> list[str]:
    """Read all that `folder` holds of `clips`; returns one line for each that is wrong, missing or too much."""
    paths = [clip_path(folder, clip) for clip in clips]
    jobs = {clip.path: (path, clip, settings) for clip, path in zip(clips, paths, strict=True)}
    wrong = []
    with counting("verifying", "clips", len(jobs)) as bar:
        for _, result in run_jobs(store.verify, jobs, workers):
            if isinstance(result, ActionRecError):
                wrong.append(str(result))
            bar.done += 1
    strange = {file for place in {path.parent for path in paths} for file in place.glob("*.zip")} - set(paths)
    return sorted(wrong) + [f"{file} is the flow of no clip; delete it" for file in sorted(strange)]


def _missing(
    clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int
) -> tuple[dict[Clip, int], list[str]]:
    """Clips to extract, longest first, with the number of fields that containers say; and what is wrong with others."""
    found: dict[Clip, _Work] = {}
    failed = []
    jobs = {clip.path: (clip, clip_path(folder, clip), settings) for clip in clips}
    by_path = {clip.path: clip for clip in clips}
    with counting("checking", "clips", len(clips)) as bar:
        for path, result in run_jobs(_inspect, jobs, workers):
            if isinstance(result, store.OtherSettingsError):
                raise result
            if isinstance(result, ActionRecError):
                failed.append(str(result))
            elif result:
                found[by_path[path]] = result
            bar.done += 1
    longest_first = sorted(found, key=lambda clip: (-found[clip].pixels, clip.path))
    return {clip: found[clip].fields for clip in longest_first}, failed


def _inspect(clip: Clip, path: Path, settings: FlowSettings) -> _Work | None:
    """What extracting a clip will take; None if it is done."""
    if store.is_complete(path, clip, settings):
        return None
    clip_says = probe(clip.path)
    fields = max(clip_says.frames - 1, 1)
    return _Work(fields, fields * clip_says.height * clip_says.width)


def _write(clip: Clip, path: Path, settings: FlowSettings, source: Source) -> _Written:
    def counted() -> Iterator[np.ndarray]:
        for codes in source(clip, settings):
            yield codes
            advance()

    fields = store.write(path, clip, counted(), settings)
    return _Written(fields, path.stat().st_size)
