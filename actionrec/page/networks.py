"""The runs that the page offers, and their networks, of which the latest ones stay loaded."""

import logging
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from actionrec.datamodules import run_data
from actionrec.page.pictures import data_url
from actionrec.prediction.loading import Loaded, Place, load
from actionrec.prediction.sources import is_image
from actionrec.reporting.records import name_of
from actionrec.runs.folder import RunFolder
from actionrec.settings.untrusted import read_config, read_metrics
from actionrec.storage.video import count_frames, read_frames, read_image, resize_short_side
from actionrec.system.errors import ActionRecError
from actionrec.system.files import WORKING_SUFFIXES

log = logging.getLogger(__name__)

LOADED = 2  # networks that stay in memory
EXAMPLES = 6  # clips that are offered
THUMBNAIL = 96  # short side in pixels


class Choice(NamedTuple):
    """A finished run that the page offers.

    Args:
        key: its folder below the folder of all outputs, `<data>/<stage>/<name>`.
        path: its folder.
        title: for the list, with the test accuracy if there is one.
    """

    key: str
    path: Path
    title: str

    @property
    def ended(self) -> float:
        """When the run ended, in seconds since the epoch; a run that is gone is the oldest."""
        best = RunFolder(self.path).best
        return best.stat().st_mtime if best.is_file() else 0.0


class Example(NamedTuple):
    """A clip of a run's test part: the file, its action, and a small picture as a data URL."""

    path: Path
    action: str
    picture: str


def find_runs(outputs: Path) -> dict[str, Choice]:
    """The finished runs of all data sets, by key, in the order of data set, stage and name.

    Args:
        outputs: the folder with a folder for each data set.
    """
    found = {}
    for path in sorted(outputs.glob("*/*/*")):
        if name_of(path.name) and path.suffix not in WORKING_SUFFIXES and RunFolder(path).finished:
            key = path.relative_to(outputs).as_posix()
            found[key] = Choice(key, path, f"{path.parent.name}, {path.name}{_accuracy(path)}")
    return found


def _accuracy(run: Path) -> str:
    try:
        accuracy = read_metrics(run / "metrics.json").get("test/acc")
    except ActionRecError:
        return ""
    return f", test accuracy {accuracy:.0%}" if type(accuracy) in (int, float) else ""


class Networks:
    """Loads the networks of runs, and keeps the `LOADED` ones that were used last.

    A run that was trained again has another checkpoint, and is loaded again.

    Args:
        config: of `conf/app.yaml`.

    Attributes:
        lock: to be held while a network computes: hooks that record its streams must not see another thread's batch.
    """

    def __init__(self, config: DictConfig):
        self.config = config
        self.lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: OrderedDict[tuple[Path, int], Loaded] = OrderedDict()
        self._examples: dict[Path, list[Example]] = {}

    def get(self, run: Path) -> Loaded:
        """The best network of a run.

        Raises:
            ActionRecError: the checkpoint is gone, damaged, or needs a device that this machine lacks.
        """
        best = RunFolder(run).best
        with self._loading:
            if not best.is_file():
                raise ActionRecError(f"{run.name} has no checkpoint any more; choose another network")
            key = best, best.stat().st_mtime_ns
            if key not in self._loaded:
                self._loaded[key] = load(self.config, Place(best, run))
                while len(self._loaded) > LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def examples(self, run: Path) -> list[Example]:
        """Test clips of a run, of different actions; empty if the data are not in the run's folders any more."""
        loaded = self.get(run)
        with self._loading:
            if run not in self._examples:
                self._examples[run] = _examples(run, loaded, list(self.config.trust))
            return self._examples[run]


def _examples(run: Path, loaded: Loaded, trust: list[str]) -> list[Example]:
    assert loaded.module
    found: dict[str, Example] = {}
    try:
        said = read_config(run / "config.yaml").get("data")
        _, splits = run_data.create(run, said, loaded.module.inputs, trust).index()
        for record in splits.test:
            if record.action not in found and len(found) < EXAMPLES:
                with suppress(ActionRecError):  # another clip of the action may be readable
                    found[record.action] = Example(record.path, record.action, _thumbnail(record.path))
    except (ActionRecError, OSError) as error:
        log.info("no examples of %s: %s", run, error)
    return list(found.values())


def _thumbnail(path: Path) -> str:
    if is_image(path):
        frame = read_image(path, THUMBNAIL)
    else:
        [frame] = read_frames(path, [count_frames(path) // 2])
    return data_url(resize_short_side(frame, THUMBNAIL))
