"""The chain of one split and seed: the run of each stage, and the links between parents' and children's checkpoints."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from actionrec.reporting.records import Outputs, Run
from actionrec.reporting.tables import Short, Table
from actionrec.settings.chain import ChainConfig, load
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256

SHOWN_HASH = 10  # characters of a hash that are shown
SAME, OTHER, GONE = "same", "other", "gone"
STATES = {
    SAME: "the checkpoint that is there now",
    OTHER: "trained from another checkpoint than the one there now",
    GONE: "the parent's checkpoint is not there any more",
}


class Link(NamedTuple):
    """Link from a parent's checkpoint to a child's checkpoint.

    Args:
        child: the child's stage.
        parent: the parent's stage.
        role: name of the stream that starts from the parent, or `parent` for a network of one stream.
        recorded: sha256 of the parent's checkpoint at the child's training.
        state: `same`, `other` or `gone`, see `STATES`.
        data: name of the parent's data.
        run: name of the parent's run folder.
    """

    child: str
    parent: str
    role: str
    recorded: str
    state: str
    data: str = ""
    run: str = ""


@dataclass(frozen=True)
class Chain:
    """The runs of one split, seed and tag, by stage of `config`; runs on data without splits have split 1."""

    split: int | None
    seed: int | None
    runs: dict[str, Run] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    config: ChainConfig = field(default_factory=load)

    @property
    def name(self) -> str:
        """Name of the chain for titles: `split 1, seed 0`, and the tag if there is one."""
        return f"split {self.split}, seed {self.seed}" + (f", {self.tag}" if self.tag else "")

    @property
    def tag(self) -> str | None:
        """Tag of the runs, or None."""
        return next((run.tag for run in self.runs.values()), None)


def choose(outputs: Outputs, split: int | None = None, seed: int | None = None) -> Chain:
    """The chain of a split and a seed; None takes the value from the first run of the last stage that has runs.

    Raises:
        ActionRecError: no run has that split and seed.
    """
    config = outputs.chain
    several = [run for stage in reversed(config.stages) if config.stages[stage].split for run in outputs.of(stage)]
    fitting = [run for run in several if split in (None, run.split) and seed in (None, run.seed)]
    if not fitting and not (several and split is not None):
        without = [stage for stage in reversed(config.stages) if not config.stages[stage].split]
        fitting = [run for stage in without for run in outputs.of(stage) if seed in (None, run.seed)]
    if not fitting:
        if split is seed is None:
            return Chain(split, seed, config=config)
        there = ", ".join(dict.fromkeys(run.name for run in outputs.runs)) or "none"
        raise ActionRecError(f"split={split} seed={seed}: no such run under {outputs.folder}; the runs are: {there}")
    split, seed = fitting[0].split, fitting[0].seed
    runs: dict[str, Run] = {}
    for name, stage in config.stages.items():
        wanted = (split if stage.split else 1, seed)
        if found := [run for run in outputs.of(name) if (run.split, run.seed) == wanted]:
            runs[name] = found[0]
    return Chain(split, seed, runs, [link for run in runs.values() for link in links(run, outputs)], config)


def links(run: Run, outputs: Outputs) -> list[Link]:
    """Links from a run to its parents; each parent's recorded hash is compared with the checkpoint there now."""
    if not run.checkpoint:
        return []
    known = {other.checkpoint.sha256 for other in outputs.runs if other.checkpoint}
    found = []
    for role, parent in run.checkpoint.lineage["parents"].items():
        recorded = str(parent.get("sha256", ""))
        state = SAME if recorded in known else _state(parent, recorded, outputs)
        path = Path(str(parent.get("path", "")))
        folder = path.parents[1].name if len(path.parts) > 2 else ""
        said = str(parent.get("stage", "unknown")), role, recorded, state, str(parent.get("data", "")), folder
        found.append(Link(run.stage, *said))
    return found


def lineage_table(outputs: Outputs) -> Table:
    """Table of the lineage of every run's checkpoint."""
    rows = []
    for run in outputs.runs:
        if not run.checkpoint:
            continue
        own = run.checkpoint.lineage
        came = [
            f"{link.parent} {link.recorded[:SHOWN_HASH]}: {STATES[link.state]}" for link in links(run, outputs)
        ] or [_pretrained(own)]
        versions = ", ".join(f"{name} {version}" for name, version in own.get("versions", {}).items())
        rows.append(
            (
                run.stage,
                run.name,
                own["data"],
                own["split"],
                own["seed"],
                Short(run.checkpoint.sha256, run.checkpoint.sha256[:SHOWN_HASH]),
                "; ".join(came),
                len(own.get("trained_on", [])) or None,
                run.checkpoint.epoch,
                versions,
            )
        )
    header = ("stage", "run", "data", "split", "seed", "best.ckpt", "came from", "trained on", "epoch kept", "versions")
    note = (
        "best.ckpt and parents: the first ten characters of the sha256. Trained on: number of stills and clips to "
        "which the weights were fitted, in this stage and in earlier stages."
    )
    return Table("lineage", "Where each checkpoint comes from", header, rows, note)


def settings_tables(chain: Chain) -> list[Table]:
    """Two tables: the settings in which the stages of a chain differ, and the settings that all stages share."""
    configs = {stage: _flat(run.config) for stage, run in chain.runs.items() if run.config}
    keys = sorted(set().union(*configs.values()))
    differ = [key for key in keys if len({config.get(key) for config in configs.values()}) > 1]
    shared = [key for key in keys if key not in differ]
    own = [(key, *(config.get(key) for config in configs.values())) for key in differ]
    common = [(key, next(iter(configs.values()))[key]) for key in shared]
    return [
        Table("settings", "Settings in which the stages differ", ("setting", *configs), own),
        Table("settings-shared", "Settings that the stages share", ("setting", "value"), common),
    ]


def starts_from(run: Run) -> str:
    """Text about the weights that a stage without parents starts from."""
    return _pretrained(run.checkpoint.lineage) if run.checkpoint else "origin unknown"


def _state(parent: dict[str, Any], recorded: str, outputs: Outputs) -> str:
    """State of a link whose parent's hash is the hash of no run: `other` if another checkpoint is in the same place."""
    path = Path(str(parent.get("path", "")))
    if path.is_file():
        return SAME if sha256(path) == recorded else OTHER
    place = (parent.get("stage"), parent.get("split") or 1, parent.get("seed"))
    return OTHER if place in [(run.stage, run.split, run.seed) for run in outputs.runs] else GONE


def _pretrained(lineage: dict[str, Any]) -> str:
    backbone = lineage.get("backbone") or {}
    streams = [each for each in backbone.values() if isinstance(each, dict)] if "name" not in backbone else [backbone]
    names = dict.fromkeys(f"{each.get('name')} ({each.get('weights') or 'random weights'})" for each in streams)
    return " and ".join(names) or "unknown weights"


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by dotted key, as texts, without paths and without copies of other settings."""
    skipped = (
        "paths",
        "chain",
        "parents",
        "run_dir",
        "work_dir",
        "init_from",
        "callbacks",
        "logger",
        "model.optimizer",
        "model.scheduler",
    )
    found: dict[str, str] = {}
    for key, each in value.items():
        name = f"{prefix}{key}"
        if name in skipped:
            continue
        if isinstance(each, dict) and each:
            found |= _flat(each, f"{name}.")
        else:
            found[name] = ", ".join(map(str, each)) if isinstance(each, list) else str(each)
    return found
