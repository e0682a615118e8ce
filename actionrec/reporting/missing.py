"""Runs, fusions and studies that a report lacks, with the commands that make them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hydra.errors import InstantiationException

from actionrec.datasets.base import create
from actionrec.reporting.chain import SAME, Chain
from actionrec.reporting.records import Outputs, Run, name_of
from actionrec.reporting.tables import Table
from actionrec.settings.chain import DEFAULT, ChainConfig
from actionrec.settings.untrusted import check_data
from actionrec.system.errors import ActionRecError

STUDIES = {  # of conf/sweep/, with the stages that they are about
    "frame_position": "hmdb51_frame",
    "augmentation": "stanford40_frame",
    "schedule": "stanford40_frame",
    "fusion": "hmdb51_two_stream",
    "flow": "hmdb51_flow",
    "initialisation": "hmdb51_frame",
    "backbone": "stanford40_frame",
    "image_size": "stanford40_frame",
}
SEARCHED = "stanford40_frame"  # STAGE of the Makefile


class Missing(NamedTuple):
    """An item that the report lacks: its name, the reason, and the command that makes it."""

    what: str
    why: str
    command: str


@dataclass(frozen=True)
class Commands:
    """Command lines for one data set and chain.

    Args:
        data: the option of the config group `paths`.
        name: `paths.name`.
        outputs: `paths.outputs`.
        chain: the option of the config group `chain`.
    """

    data: str
    name: str
    outputs: str = "outputs"
    chain: str = DEFAULT

    def make(self, target: str, **variables: int | str | None) -> str:
        """`make <target> DATA=… KEY=value … ARGS='…'`, without variables that have their default."""
        said = [f"DATA={self.data}"] if self.data != "demo" else []
        said += [f"CHAIN={self.chain}"] if self.chain != DEFAULT else []
        said += [f"{key}={shlex.quote(str(value))}" for key, value in variables.items() if value is not None]
        return " ".join(["make", target, *said, *([f"ARGS='{' '.join(self._places)}'"] if self._places else [])])

    def verb(self, name: str, *overrides: str) -> str:
        """`actionrec <name> paths=… …`."""
        data = [f"paths={self.data}"] if self.data != "demo" else []
        return " ".join([f"actionrec {name}", *data, *self._places, *overrides])

    def stage(self, chain: ChainConfig, name: str, split: int | None, seed: int | None, tag: str | None) -> str:
        """Command that trains a stage and its parents: `make <target>`, or `actionrec chain` if there is no target."""
        stage = chain.stages[name]
        if stage.make:
            return self.make(stage.make, **({"SPLIT": split} if stage.split else {}), SEED=seed, TAG=tag)
        said = {"split": split if stage.split else None, "seed": seed, "tag": tag}
        words = [f"{key}={shlex.quote(str(value))}" for key, value in said.items() if value is not None]
        chosen = [f"chain={self.chain}"] if self.chain != DEFAULT else []
        return self.verb("chain", *chosen, f"upto={name}", *words)

    @property
    def _places(self) -> list[str]:
        name = [f"paths.name={self.name}"] if self.name != self.data else []
        return [*name, *([f"paths.outputs={self.outputs}"] if self.outputs != "outputs" else [])]


def find(
    outputs: Outputs, chain: Chain, commands: Commands, splits: Mapping[str, Sequence[int]] | None = None
) -> list[Missing]:
    """All items that belong in a report and are missing.

    Args:
        outputs: the existing runs, fusions and studies.
        chain: the chain that the report shows in detail.
        commands: writes the commands.
        splits: official splits of the stages' data, see `splits_of`.
    """
    return [
        *_stages(outputs, chain, commands),
        *_unfinished(outputs, commands),
        *_splits_and_seeds(outputs, chain, commands, splits or {}),
        *_fusions(outputs, chain, commands),
        *_studies(outputs, commands),
    ]


def splits_of(outputs: Outputs) -> dict[str, list[int]]:
    """The official splits of the data of each stage, as far as the lists that a run was trained on are there."""
    return {run.stage: found for run in outputs.runs if run.config and (found := _splits_of(run, outputs.trust))}


def _splits_of(run: Run, trust: Sequence[str]) -> list[int]:
    try:
        assert run.config
        return create(check_data(run.config.get("data"), run.path / "config.yaml", trust)["dataset"]).official_splits()
    except (ActionRecError, InstantiationException):  # of another version, or of a class that is not trusted
        return []


def table(found: list[Missing]) -> Table:
    """The missing items as a table."""
    note = "The commands name only the data. Add the settings of the other runs (RECIPE=…, ARGS='…')."
    header = ("what", "why", "command")
    return Table("missing", "Not run, or not available", header, [tuple(each) for each in found], note)


def _stages(outputs: Outputs, chain: Chain, commands: Commands) -> list[Missing]:
    found = []
    elsewhere = {link.parent for link in chain.links if link.state == SAME} - chain.runs.keys()
    declared = chain.config.links
    begun = {link.child for link in chain.links if (link.parent, link.child) not in declared}
    for stage in chain.config.stages:
        children = {child for parent, child in declared if parent == stage}
        if stage in elsewhere or (children and children <= begun):  # all children started from other checkpoints
            continue
        command = commands.stage(chain.config, stage, chain.split, chain.seed, chain.tag)
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
            found.append(Missing(what, f"no study.json with a summary of the runs (finished: {jobs})", again))
        else:
            said = name_of(path.stem) or (None, None, None)  # such as `split1-seed0-strong.partial`
            if path.parent.name in outputs.chain.stages:
                again = commands.stage(outputs.chain, path.parent.name, *said)
            else:
                again = commands.make("fusion", **dict(zip(("SPLIT", "SEED", "TAG"), said, strict=True)))
            found.append(Missing(what, "interrupted, or still running", again))
    return found


def _splits_and_seeds(
    outputs: Outputs, chain: Chain, commands: Commands, splits: Mapping[str, Sequence[int]]
) -> list[Missing]:
    found = []
    lacking: dict[tuple[tuple[int, ...], int], list[str]] = {}
    for stage in (name for name, each in chain.config.stages.items() if each.split):
        there = {run.split for run in outputs.of(stage)}
        wanted = splits.get(stage, ())
        absent = tuple(split for split in wanted if split not in there)
        if there and absent:
            lacking.setdefault((absent, len(wanted)), []).append(stage)
    for (absent, count), stages in lacking.items():
        numbers = " and ".join(map(str, absent))
        again = commands.make("crossval", TAG=chain.tag)
        what = f"split{'s' * (len(absent) > 1)} {numbers} of {', '.join(stages)}"
        found.append(Missing(what, f"the data have {count} splits; results are means over all splits", again))
    single = {stage: {run.seed for run in outputs.of(stage)} for stage in chain.config.stages}
    alone = [stage for stage, seeds in single.items() if len(seeds) == 1]
    if alone:
        seed = next(iter(single[alone[-1]]))
        again = commands.make("all", SEED=1 if seed is None else seed + 1, TAG=chain.tag)
        found.append(
            Missing(f"a second seed of {', '.join(alone)}", "one seed does not show how far seeds differ", again)
        )
    return found


def _fusions(outputs: Outputs, chain: Chain, commands: Commands) -> list[Missing]:
    if not any(len(stage.parents) > 1 for stage in chain.config.stages.values()):
        return []
    if any(fusion.of == (chain.split, chain.seed, chain.tag) for fusion in outputs.fusions):
        return []
    command = commands.make("fusion", SPLIT=chain.split, SEED=chain.seed, TAG=chain.tag)
    return [Missing(f"fusions of {chain.name}", "no table of fusions for these runs", command)]


def _studies(outputs: Outputs, commands: Commands) -> list[Missing]:
    there = {study.name for study in outputs.studies} | {path.name for path in outputs.unfinished}
    found = [
        Missing(f"study {name}", "not run", commands.make(f"study-{name.replace('_', '-')}"))
        for name, stage in STUDIES.items()
        if name not in there and stage in outputs.chain.stages
    ]
    if not outputs.searches and SEARCHED in outputs.chain.stages:
        found.append(Missing("search", "no hyper-parameter search", commands.make("search")))
    return found
