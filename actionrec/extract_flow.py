"""`python -m actionrec.extract_flow`: extract the optical flow of the clips, once, into the store."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from actionrec.cli import plain, verb
from actionrec.errors import ActionRecError
from actionrec.hardware import usable_cores

log = logging.getLogger("actionrec.extract_flow")  # __name__ is __main__ here


def extract_flow(config: DictConfig) -> None:
    """Extract what the store lacks of the flow of every clip on disk of the chosen actions."""
    from actionrec.actions import class_list
    from actionrec.datasets import hmdb51
    from actionrec.datasets.records import require_folder
    from actionrec.flow.extract import extract
    from actionrec.flow.store import FlowSettings

    videos, lists, store = Path(config.paths.hmdb51), Path(config.paths.hmdb51_splits), Path(config.paths.flow)
    require_folder(videos, "paths.hmdb51")
    require_folder(lists, "paths.hmdb51_splits")
    known = hmdb51.actions_in(lists, config.split)
    actions = class_list(plain(config.data)["actions"], known, f"split {config.split} in {lists}")
    clips = hmdb51.clips_on_disk(videos, actions)
    if not clips:
        raise ActionRecError(f"no clips of {', '.join(actions)} under {videos}; check paths.hmdb51 and data.actions")
    settings = FlowSettings(**plain(config.data)["flow"])
    workers = usable_cores() if config.workers == "auto" else int(config.workers)

    summary = extract(clips, store, settings, workers)
    log.info(
        "%s: %d clips extracted (%d fields), %d were there, %d failed",
        store,
        summary.extracted,
        summary.fields,
        summary.skipped,
        len(summary.failed),
    )
    if summary.failed:
        for line in summary.failed:
            log.error("failed: %s", line)
        raise ActionRecError(f"{len(summary.failed)} of {len(clips)} clips have no flow (first: {summary.failed[0]})")


main = verb("extract_flow")(extract_flow)

if __name__ == "__main__":
    main()
