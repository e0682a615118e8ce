"""`actionrec extract_flow`: extract the optical flow of the clips into the flow store.

`verify=true` checks a store, `preview=<clip>` makes a video of one clip's flow.
"""

import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from actionrec.settings.composition import plain
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

if TYPE_CHECKING:
    from actionrec.datasets.records import Clip
    from actionrec.flow.extract import Summary
    from actionrec.storage.flow import FlowSettings

FLOW = "actionrec.streams.Flow"  # by name, because importing the class loads torch, which extraction does not need
log = logging.getLogger(__name__)


def extract_flow(config: DictConfig) -> None:
    """Extract the flow that the store lacks, of every clip on disk of the chosen actions."""
    from actionrec.flow.extract import extract, shard, verify

    settings, store = flow_of(config)
    if config.preview:
        _preview(config, settings)
        return
    clips, workers = clips_of(config), worker_count(config)
    if config.verify:
        report_wrong(verify(clips, store, settings, workers), len(clips), f"have missing or wrong flow in {store}")
        log.info("%s: the flow of all %d clips is complete", store, len(clips))
        return

    part, name = shard(clips, config.shard.count, config.shard.index), ""
    if config.shard.count > 1:
        name = f"shard-{config.shard.index}-of-{config.shard.count}"
    conclude(extract(part, store, settings, workers, name), store)


def worker_count(config: DictConfig) -> int:
    """Number of processes from the setting `workers`."""
    if config.workers == "auto":
        return usable_cores()
    if not isinstance(config.workers, int) or config.workers < 1:
        raise ActionRecError(f"workers={config.workers}: use auto, or at least 1")
    return config.workers


def conclude(summary: "Summary", store: Path) -> None:
    """Log the summary of an extraction.

    Raises:
        ActionRecError: clips failed; the log names each of them.
    """
    log.info(
        "%s: %d clips written (%d fields, %.0f fields/s, %.1f MB), %d were there, %d failed",
        store,
        summary.written,
        summary.fields,
        summary.fields / summary.seconds,
        summary.bytes / 1e6,
        summary.skipped,
        len(summary.failed),
    )
    report_wrong(summary.failed, summary.written + summary.skipped + len(summary.failed), "have no flow")


def _preview(config: DictConfig, settings: "FlowSettings") -> None:
    from actionrec.datasets.records import Clip
    from actionrec.flow.visualize import write_preview

    path = Path(config.preview)
    if not path.is_file():
        named = [
            clip.path for clip in clips_of(config) if config.preview in (clip.path.name, clip.path.stem, clip.name)
        ]
        if not named:
            raise ActionRecError(
                f"preview={config.preview} is neither a file nor a clip of dataset={config.dataset.name}"
            )
        [path] = named[:1]
    video = Path(config.paths.outputs) / config.paths.name / "previews" / config.flow.name / f"{path.stem}.mp4"
    write_preview(video, Clip(path, "", ""), settings)
    print(video)


def flow_of(config: DictConfig) -> "tuple[FlowSettings, Path]":
    """Settings of the flow that the data module reads, and the folder of the flow store.

    Raises:
        ActionRecError: no stream of the data module reads flow.
    """
    if found := flow_read(config):
        return found
    raise ActionRecError("no stream reads flow; use stream=[flow]")


def flow_read(config: DictConfig) -> "tuple[FlowSettings, Path] | None":
    """As `flow_of`, but None if no stream reads flow."""
    from actionrec.storage.flow import FlowSettings

    for stream in plain(config.data).values():
        if isinstance(stream, dict) and stream.get("_target_") == FLOW:
            named = [each.name for each in fields(FlowSettings)]
            return FlowSettings(**{key: stream[key] for key in named}), Path(stream["folder"])
    return None


def clips_of(config: DictConfig) -> "list[Clip]":
    """Every clip on disk of the chosen actions.

    Raises:
        ActionRecError: there is no such clip, the data set lacks a chosen action, or the data set has no clips.
    """
    from actionrec.datasets.background import with_background
    from actionrec.datasets.base import ClipSet, create

    data = with_background(create(config.dataset), config.data.get("background"))
    if not isinstance(data, ClipSet):
        raise ActionRecError(f"dataset={config.dataset.name} has no clips; choose a data set of clips")
    return data.clips(plain(config.data)["actions"])


def report_wrong(wrong: list[str], clips: int, what: str) -> None:
    """Log a line for each wrong clip, and raise if there is any."""
    for line in wrong:
        log.error("%s", line)
    if wrong:
        raise ActionRecError(f"{len(wrong)} of {clips} clips {what} (first: {wrong[0]})")
