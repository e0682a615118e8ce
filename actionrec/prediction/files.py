"""Many files in one pass: progress, failures that do not stop the other files, and interruptions."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from actionrec.prediction import sources
from actionrec.prediction.pipeline import Failed, Scored
from actionrec.storage.video import probe
from actionrec.system.errors import ActionRecError
from actionrec.system.gauges import counting

log = logging.getLogger(__name__)

Tick = Callable[[], None]  # to be called for each frame that is decoded


class Passed(NamedTuple):
    """The outcome of a pass over files.

    Args:
        failed: files without a result.
        stopped: the interruption (KeyboardInterrupt or SystemExit) that ended the pass; None without one.
    """

    failed: list[Failed]
    stopped: BaseException | None


def go_through(
    paths: Sequence[Path],
    read: Callable[[Tick], Iterator[Scored | Failed]],
    take: Callable[[Scored, Tick], None],
    readings: int = 1,
    doing: str = "predicting",
) -> Passed:
    """Read files and take the scores of each, with a progress bar.

    Args:
        paths: the files.
        read: yields the scores of each file in the order of `paths`, see `pipeline.predict`.
        take: called with the scores of a file; the file counts as failed if it raises `ActionRecError`.
        readings: how often a file is decoded, by `read` and by `take`.
        doing: word for the progress bar.
    """
    failed: list[Failed] = []
    finished, taken, stopped = 0, 0, None
    announced = {path: frames_in(path) * readings for path in paths}
    with counting(doing, "frames", sum(announced.values())) as bar:

        def tick() -> None:
            bar.done += 1

        try:
            for number, each in enumerate(read(tick), 1):
                if isinstance(each, Failed):
                    failed.append(each)
                else:
                    taken += 1
                    try:
                        take(each, tick)
                    except ActionRecError as error:
                        failed.append(Failed(each.path, str(error)))
                finished += announced[each.path]
                bar.done = max(bar.done, finished)  # a clip is read up to the last frame that its samples need
                bar.note = f"{number}/{len(paths)} files" if len(paths) > 1 else ""
        except (KeyboardInterrupt, SystemExit) as stop:  # SIGINT or SIGTERM
            stopped = stop
            log.warning("stopped after %d of %d files; a long video may be done in part", taken, len(paths))
    return Passed(failed, stopped)


def raise_failures(passed: Passed, files: int) -> None:
    """Raise for the interruption of a pass, or for the failures of some of its files.

    Raises:
        ActionRecError: files have failed; the log names each of several.
    """
    if passed.stopped:
        raise passed.stopped
    if passed.failed and files > 1:
        for each in passed.failed:
            log.error("%s", each.reason)
        raise ActionRecError(f"{len(passed.failed)} of {files} files failed; the lines above say why")
    if passed.failed:
        raise ActionRecError(passed.failed[0].reason)


def frames_in(path: Path) -> int:
    """Number of frames that a file announces, for the progress bar; 0 if the file cannot be read."""
    try:
        return 0 if sources.is_image(path) else probe(path).frames
    except (ActionRecError, OSError):
        return 0
