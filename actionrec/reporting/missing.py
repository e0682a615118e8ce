"""What was not run, each with the command that runs it."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from actionrec.reporting.chain import SAME, Chain
from actionrec.reporting.gather import STAGES, Outputs, name_of
from actionrec.reporting.tables import Table

SPLITS = (1, 2, 3)  # HMDB51's official ones
STUDIES = (
    "frame_position",
    "augmentation",
    "schedule",
    "fusion",
    "flow",
    "initialisation",
    "backbone",
    "image_size",
)
TARGETS = dict(zip(STAGES, ("stanford40-frame", "hmdb51-frame", "hmdb51-flow", "two-stream"), strict=True))


class Missing(NamedTuple):
    """Something that the report lacks: why, and what to do about it."""

    what: str
    why: str
    command: str


@dataclass(frozen=True)
class Commands:
    """Spells commands for one data set.

    Args:
        data: the choice of `conf/paths/`.
        name: `paths.name`.
        outputs: `paths.outputs`.
    """

    data: str
    name: str
    outputs: str = "outputs"

    def make(self, target: str, **variables: int | str | None) -> str:
        """`make <target> DATA=… KEY=value … ARGS='…'`, of which what is the default is left out."""
        said = [f"DATA={self.data}"] if self.data != "demo" else []
        said += [f"{key}={shlex.quote(str(value))}" for key, value in variables.items() if value is not None]
        return " ".join(["make", target, *said, *([f"ARGS='{' '.join(self._places)}'"] if self._places else [])])

    def verb(self, name: str, *overrides: str) -> str:
        """`actionrec <name> paths=… …`."""
        data = [f"paths={self.data}"] if self.data != "demo" else []
        return " ".join([f"actionrec {name}", *data, *self._places, *overrides])

    @property
    def _places(self) -> list[str]:
        name = [f"paths.name={self.name}"] if self.name != self.data else []
        return [*name, *([f"paths.outputs={self.outputs}"] if self.outputs != "outputs" else [])]


def find(outputs: Outputs, chain: Chain, commands: Commands) -> list[Missing]:
    """All that is known to belong in a report and is not there."""
    return [
        *_stages(outputs, chain, commands),
        *_unfinished(outputs, commands),
        *_splits_and_seeds(outputs, chain, commands),
        *_fusions(outputs, chain, commands),
        *_studies(outputs, commands),
    ]


def table(found: list[Missing]) -> Table:
    """As a table."""
    note = "Add the settings that the other runs were made with (RECIPE=…, ARGS='…'): the commands name the data alone."
    header = ("what", "why", "command")
    return Table("missing", "Not run, or not to be had", header, [tuple(each) for each in found], note)


def _stages(outputs: Outputs, chain: Chain, commands: Commands) -> list[Missing]:
    found = []
    elsewhere = {link.parent for link in chain.links if link.state == SAME} - chain.runs.keys()
    for stage in STAGES:
        variables = {} if stage == STAGES[0] else {"SPLIT": chain.split}
        command = commands.make(TARGETS[stage], **variables, SEED=chain.seed, TAG=chain.tag)
        if stage in elsewhere:
            continue
        if not outputs.of(stage):
            found.append(Missing(stage, "no finished run", command))
        elif stage not in chain.runs:
            found.append(Missing(f"{stage} of {chain.name}", "only runs of other splits or seeds", command))
    return found


def _unfinished(outputs: Outputs, commands: Commands) -> list[Missing]:
    found = []
    for path in outputs.unfinished:
        what = str(path.relative_to(outputs.folder))
        if path.parent.name == "sweeps":
            jobs = len(list(path.glob("**/metrics.json")))
            again = commands.verb("train", "experiment=…", f"sweep={path.name}", "--multirun")
            if path.name in STUDIES:
                again = commands.make(f"study-{path.name.replace('_', '-')}")
            found.append(Missing(what, f"no study.json that sums up its runs (finished: {jobs})", again))
        else:
            target = TARGETS.get(path.parent.name, "fusion")
            found.append(Missing(what, "interrupted, or still running", commands.make(target, **_variables(path))))
    return found


def _variables(path: Path) -> dict[str, int | str | None]:
    """Make's, of a folder such as `split1-seed0-strong.partial`."""
    said = name_of(path.stem)
    return {key.upper(): value for key, value in said._asdict().items()} if said else {}


def _splits_and_seeds(outputs: Outputs, chain: Chain, commands: Commands) -> list[Missing]:
    found = []
    lacking: dict[tuple[int, ...], list[str]] = {}
    for stage in STAGES[1:]:
        there = {run.split for run in outputs.of(stage)}
        absent = tuple(split for split in SPLITS if split not in there)
        if there and absent:
            lacking.setdefault(absent, []).append(stage)
    for splits, stages in lacking.items():
        numbers = " and ".join(map(str, splits))
        again = commands.make("crossval", TAG=chain.tag)
        what = f"split{'s' * (len(splits) > 1)} {numbers} of {', '.join(stages)}"
        found.append(Missing(what, "HMDB51 has three; results are means over them", again))
    single = {stage: {run.seed for run in outputs.of(stage)} for stage in STAGES}
    alone = [stage for stage, seeds in single.items() if len(seeds) == 1]
    if alone:
        seed = next(iter(single[alone[-1]]))
        again = commands.make("all", SEED=1 if seed is None else seed + 1, TAG=chain.tag)
        found.append(
            Missing(f"a second seed of {', '.join(alone)}", "one seed does not show how far seeds differ", again)
        )
    return found


def _fusions(outputs: Outputs, chain: Chain, commands: Commands) -> list[Missing]:
    if any(fusion.of == (chain.split, chain.seed, chain.tag) for fusion in outputs.fusions):
        return []
    command = commands.make("fusion", SPLIT=chain.split, SEED=chain.seed, TAG=chain.tag)
    return [Missing(f"fusions of {chain.name}", "no table of fusions for these runs", command)]


def _studies(outputs: Outputs, commands: Commands) -> list[Missing]:
    there = {study.name for study in outputs.studies} | {path.name for path in outputs.unfinished}
    found = [
        Missing(f"study {name}", "not run", commands.make(f"study-{name.replace('_', '-')}"))
        for name in STUDIES
        if name not in there
    ]
    return (
        found if outputs.searches else [*found, Missing("search", "no hyper-parameter search", commands.make("search"))]
    )
