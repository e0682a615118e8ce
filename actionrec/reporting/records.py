"""Records of a report: runs, measurements, fusions, studies, damaged files."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from actionrec.evaluation.scores import Scores
from actionrec.runs.measurements import Protocol
from actionrec.settings.chain import ChainConfig, load
from actionrec.settings.messages import one_line
from actionrec.system.errors import ActionRecError

_UNREADABLE = (ActionRecError, OSError, ValueError, KeyError, TypeError, RecursionError)

T = TypeVar("T")


class Damage(NamedTuple):
    """A damaged or missing file, and the reason."""

    path: Path
    reason: str


class Checkpoint(NamedTuple):
    """A `best.ckpt`: its hash, its epoch (counted from 1), and its lineage."""

    sha256: str
    epoch: int
    lineage: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        stage: stage of the chain, or the name of a network's folder outside the chain.
        path: folder of the run.
        split, seed: from the folder's name or else from the configuration; None if unknown.
        tag: suffix of the folder's name, which distinguishes runs of other settings; None without a suffix.
        metrics: numbers of `metrics.json`; metrics that runs of earlier versions lack are computed from the scores.
        scores: of the test part.
        config: content of `config.yaml`, interpolations not resolved.
        checkpoint: of `best.ckpt`.
        protocol: protocol of the measurement; None for runs of earlier versions without a record.
        gate: content of `gate.json`: the candidates of a gated fusion; None for other networks.
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
    gate: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def samples(self) -> int | None:
        """Number of test samples."""
        return len(self.scores.names) if self.scores else _counted(self.metrics.get("test/n"))

    @property
    def sources(self) -> int | None:
        """Number of source videos of the test samples; a still is its own source."""
        return len(set(self.scores.groups)) if self.scores else _counted(self.metrics.get("test/sources"))


class Measured(NamedTuple):
    """A further measurement of a run, under another protocol than its own."""

    run: Run
    protocol: Protocol
    metrics: dict[str, float]
    samples: int | None


class Name(NamedTuple):
    """Split, seed and tag, from the name of a run's folder."""

    split: int
    seed: int
    tag: str | None


class Study(NamedTuple):
    """The content of a study's or a search's JSON file, and the pictures in the same folder."""

    name: str
    content: dict[str, Any]
    pictures: list[Path]


class Fusion(NamedTuple):
    """The rows of one `actionrec fuse`."""

    name: str
    rows: list[dict[str, Any]]

    @property
    def of(self) -> "Name | None":
        """Split, seed and tag from the folder's name; None if the folder has another name."""
        return name_of(self.name)


@dataclass
class Outputs:
    """All results on one data set.

    `unfinished` holds the folders of runs without results and of sweeps without a study. `trust` lists the user's
    modules that checkpoints may name. `chain` declares the stages.
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
        """A copy with the runs of one tag only, since runs with different tags have different settings."""
        return replace(self, runs=[run for run in self.runs if run.tag == tag])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.runs or self.fusions or self.studies or self.searches)

    def attempt(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """The result of `read` on a file; None if the file is missing or damaged, and damage is noted in `damaged`."""
        if not path.exists():
            return None
        try:
            return read(path)
        except _UNREADABLE as error:
            text = f"no {error}" if isinstance(error, KeyError) else one_line(error)
            self.damaged.append(Damage(path, text.replace(str(path), path.name)[:200]))
            return None


def name_of(name: str) -> Name | None:
    """Parse `split1-seed0` or `split1-seed0-<tag>`; None for any other name."""
    match = re.fullmatch(r"split(\d+)-seed(\d+)(?:-(.+))?", name)
    return Name(int(match[1]), int(match[2]), match[3]) if match else None


def _counted(value: float | None) -> int | None:
    return None if value is None else int(value)
