"""Extraction of the flow of many clips into a store, in parallel over clips; a second run extracts missing clips."""

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
    """Clips written by an extraction, their fields and bytes, clips skipped, and one message per failed clip."""

    written: int
    fields: int
    bytes: int
    skipped: int
    failed: list[str]
    seconds: float


class _Work(NamedTuple):
    """Size of a clip's flow, estimated from its container."""

    fields: int
    pixels: int


class _Written(NamedTuple):
    fields: int
    bytes: int


# Computes or reads the fields of a clip as codes (2, H, W) uint8.
Source = Callable[[Clip, FlowSettings], Iterable[np.ndarray]]


def clip_fields(clip: Clip, settings: FlowSettings) -> Iterator[np.ndarray]:
    """Codes (2, H, W) uint8 of a clip's N-1 fields, field i from frame i to frame i+1.

    The clip is decoded once, in sequence; at most `Estimator.batch` + 1 frames are in memory.

    Raises:
        ActionRecError: the clip cannot be decoded, or the estimator fails on its frames.
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
    """The clips of shard `index` of `count` disjoint shards of similar size, the same shards on all machines."""
    if not 0 <= index < count:
        raise ActionRecError(f"shard.count={count} shard.index={index}: the index goes from 0 to count-1")
    return sorted(clips, key=lambda clip: (-clip.path.stat().st_size, clip.action, clip.path.name))[index::count]


def extract(clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int, part: str = "") -> Summary:
    """Estimate the flow of all `clips` whose flow `folder` lacks, longest clips first; see `fill`."""
    create(settings.algorithm, settings.params)  # raises once for a wrong setting, instead of once per clip
    return fill(clips, folder, settings, workers, clip_fields, part)


def fill(
    clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int, source: Source, part: str = ""
) -> Summary:
    """Write the fields from `source` of all `clips` whose flow `folder` lacks.

    A clip that fails, or whose worker process dies, does not stop the others.

    Args:
        clips: clips whose flow is written.
        folder: the store.
        settings: settings of the flow.
        workers: number of processes.
        source: computes or reads the fields of a clip.
        part: name of a part of the store, such as a shard; empty for the whole store. A lock allows one writer per
            part at a time; different parts may be written at the same time, even if they share clips.

    Raises:
        ActionRecError: `folder` holds flow of other settings or is not writable, or another process writes this part.
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
            "make room or fix the permissions, and run the same command again for the rest"
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
            "the flow of %d clips covers far fewer frames than their files announce; they may be truncated (first: %s)",
            *(len(cut), min(cut)),
        )
    fields, size = sum(clip.fields for clip in written), sum(clip.bytes for clip in written)
    return Summary(len(written), fields, size, skipped, sorted(failed), time.perf_counter() - began)


def verify(clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int) -> list[str]:
    """Read the whole flow of `clips`; returns a message for each damaged, missing or superfluous file."""
    paths = [clip_path(folder, clip) for clip in clips]
    jobs = {clip.path: (path, clip, settings) for clip, path in zip(clips, paths, strict=True)}
    wrong = []
    with counting("verifying", "clips", len(jobs)) as bar:
        for _, result in run_jobs(store.verify, jobs, workers):
            if isinstance(result, ActionRecError):
                wrong.append(str(result))
            bar.done += 1
    superfluous = {file for place in {path.parent for path in paths} for file in place.glob("*.zip")} - set(paths)
    return sorted(wrong) + [f"{file} is the flow of no clip; delete it" for file in sorted(superfluous)]


def _missing(
    clips: Sequence[Clip], folder: Path, settings: FlowSettings, workers: int
) -> tuple[dict[Clip, int], list[str]]:
    """Number of fields of each clip to extract, by the containers, longest first; and messages of unreadable clips."""
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
    """The estimated work for a clip; None if its flow is complete."""
    if store.is_complete(path, clip, settings):
        return None
    container = probe(clip.path)
    fields = max(container.frames - 1, 1)
    return _Work(fields, fields * container.height * container.width)


def _write(clip: Clip, path: Path, settings: FlowSettings, source: Source) -> _Written:
    def counted() -> Iterator[np.ndarray]:
        for codes in source(clip, settings):
            yield codes
            advance()

    fields = store.write(path, clip, counted(), settings)
    return _Written(fields, path.stat().st_size)
