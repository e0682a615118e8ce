"""`actionrec extract_flow`: extract the optical flow of the clips, once, into the store.

`verify=true` checks a store, `preview=<clip>` makes a video of one clip's flow.
"""

import logging
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

log = logging.getLogger(__name__)


def extract_flow(config: DictConfig) -> None:
    """Extract what the store lacks of the flow of every clip on disk of the chosen actions."""
    from actionrec.flow.extract import extract, shard, verify
    from actionrec.storage.flow import FlowSettings

    settings = FlowSettings(**plain(config.data)["flow"])
    if config.preview:
        _preview(config, settings)
        return
    store = Path(config.paths.flow)
    clips, workers = clips_of(config), worker_count(config)
    if config.verify:
        report_wrong(verify(clips, store, settings, workers), len(clips), f"are not as they should be in {store}")
        log.info("%s: all %d clips are there and right", store, len(clips))
        return

    part, name = shard(clips, config.shard.count, config.shard.index), ""
    if config.shard.count > 1:
        name = f"shard-{config.shard.index}-of-{config.shard.count}"
    conclude(extract(part, store, settings, workers, name), store)


def worker_count(config: DictConfig) -> int:
    """Processes that `workers` asks for."""
    if config.workers == "auto":
        return usable_cores()
    if not isinstance(config.workers, int) or config.workers < 1:
        raise ActionRecError(f"workers={config.workers}: use auto, or at least 1")
    return config.workers


def conclude(summary: "Summary", store: Path) -> None:
    """Say what an extraction did.

    Raises:
        ActionRecError: clips failed; each has been named.
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
        named = [clip.path for clip in clips_of(config) if config.preview in (clip.path.name, clip.path.stem)]
        if not named:
            raise ActionRecError(f"preview={config.preview} is neither a file nor a clip of {config.paths.hmdb51}")
        [path] = named[:1]
    video = Path(config.paths.outputs) / config.paths.name / "previews" / config.flow.name / f"{path.stem}.mp4"
    write_preview(video, Clip(path, "", ""), settings)
    print(video)


def clips_of(config: DictConfig) -> "list[Clip]":
    """Every clip on disk of the chosen actions.

    Raises:
        ActionRecError: there is none, or an action that the split's lists do not know.
    """
    from actionrec.datasets import hmdb51
    from actionrec.datasets.actions import class_list
    from actionrec.datasets.records import require_folder

    videos, lists = Path(config.paths.hmdb51), Path(config.paths.hmdb51_splits)
    require_folder(videos, "paths.hmdb51")
    require_folder(lists, "paths.hmdb51_splits")
    known = hmdb51.actions_in(lists, config.split)
    actions = class_list(plain(config.data)["actions"], known, f"split {config.split} in {lists}")
    clips = hmdb51.clips_on_disk(videos, actions)
    if not clips:
        raise ActionRecError(f"no clips of {', '.join(actions)} under {videos}; check paths.hmdb51 and data.actions")
    return clips


def report_wrong(wrong: list[str], clips: int, what: str) -> None:
    """Name each wrong clip, and raise if there is one."""
    for line in wrong:
        log.error("%s", line)
    if wrong:
        raise ActionRecError(f"{len(wrong)} of {clips} clips {what} (first: {wrong[0]})")
