"""What a report is made of: runs, fusions and studies as small records."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from actionrec.evaluation.scores import Scores
from actionrec.experiment.measurement import Protocol
from actionrec.settings.chain import ChainConfig, load
from actionrec.settings.messages import one_line
from actionrec.system.errors import ActionRecError

_UNREADABLE = (ActionRecError, OSError, ValueError, KeyError, TypeError, RecursionError)

T = TypeVar("T")


class Damage(NamedTuple):
    """A file that is not what it should be."""

    path: Path
    reason: str


class Checkpoint(NamedTuple):
    """A best checkpoint: its hash, the epochs it had seen, and what it says of its origin."""

    sha256: str
    epoch: int
    lineage: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        stage: of the chain, or the folder of a further network.
        path: the folder.
        split, seed: by its name or else its configuration; None where neither says.
        tag: the suffix of its name, which keeps runs of other settings apart; None without one.
        metrics: the numbers of `metrics.json`; what older runs lack is computed from the scores.
        scores: of the test.
        config: as the file has it, nothing resolved.
        checkpoint: the best.
        protocol: how it was measured; None of runs of before that was recorded.
    """

    stage: str
    path: Path
    split: int | None
    seed: int | None
    metrics: dict[str, float]
    scores: Scores | None = None
    config: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    tag: str | None = None
    protocol: Protocol | None = None

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.name

    @property
    def samples(self) -> int | None:
        """Number of test samples."""
        return len(self.scores.names) if self.scores else _counted(self.metrics.get("test/n"))

    @property
    def sources(self) -> int | None:
        """Number of source videos that they come from; a still is its own."""
        return len(set(self.scores.groups)) if self.scores else _counted(self.metrics.get("test/sources"))


class Measured(NamedTuple):
    """A further measurement of a run, under another protocol than its own."""

    run: Run
    protocol: Protocol
    metrics: dict[str, float]
    samples: int | None


class Name(NamedTuple):
    """What the name of a run's folder says."""

    split: int
    seed: int
    tag: str | None


class Study(NamedTuple):
    """A study's or a search's file of rows, and the pictures beside it."""

    name: str
    content: dict[str, Any]
    pictures: list[Path]


class Fusion(NamedTuple):
    """The rows that `actionrec fuse` has written for one split, seed and tag."""

    name: str
    rows: list[dict[str, Any]]

    @property
    def of(self) -> "Name | None":
        """Split, seed and tag by the folder's name."""
        return name_of(self.name)


@dataclass
class Outputs:
    """What there is of one data set; `unfinished` are runs without results and sweeps without a study.

    `trust` names the user's modules that checkpoints may speak of, `chain` says which runs are its stages.
    """

    folder: Path
    runs: list[Run] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    fusions: list[Fusion] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    searches: list[Study] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)
    trust: Sequence[str] = ()
    chain: ChainConfig = field(default_factory=load)

    def of(self, stage: str) -> list[Run]:
        """Runs of a stage."""
        return [run for run in self.runs if run.stage == stage]

    def tagged(self, tag: str | None) -> "Outputs":
        """The same with the runs of one tag alone, since runs of different tags are of different settings."""
        return replace(self, runs=[run for run in self.runs if run.tag == tag])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.runs or self.fusions or self.studies or self.searches)

    def attempt(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of a file; None where there is no such file, or it is damaged, which is then noted."""
        if not path.exists():
            return None
        try:
            return read(path)
        except _UNREADABLE as error:
            text = f"no {error}" if isinstance(error, KeyError) else one_line(error)
            self.damaged.append(Damage(path, text.replace(str(path), path.name)[:200]))
            return None


def name_of(name: str) -> Name | None:
    """The parts of `split1-seed0` or `split1-seed0-<tag>`; None of another name."""
    match = re.fullmatch(r"split(\d+)-seed(\d+)(?:-(.+))?", name)
    return Name(int(match[1]), int(match[2]), match[3]) if match else None


def _counted(value: float | None) -> int | None:
    return None if value is None else int(value)
