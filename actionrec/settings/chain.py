"""What a chain is: stages, what they are trained on and which start from which; read from `conf/chain/`.

`init_from`, the places of runs, `actionrec chain`, the report and its colours follow from it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from actionrec.settings import rules
from actionrec.system.errors import ActionRecError

DEFAULT = "two_stream"  # of conf/train.yaml, conf/report.yaml and the Makefile, which leave it unsaid
_PACKAGE = Path(__file__).parents[1]
# A wheel ships the configuration inside the package; in a checkout it lies at the top.
CONF = next(each for each in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if each.is_dir())
FOLDER = CONF / "chain"
NOTE = "chain.yaml"  # in `outputs/<data>`: the chain that was trained there last
ALONE = "parent"  # role of the one parent that a network of one stream has
STILLS, CLIPS = "stills", "clips"


class Look(NamedTuple):
    """How plots show a network: a colour, and beside it a hatch, so that a print in grey tells them apart as well."""

    colour: str
    hatch: str = ""


# Colours of Okabe and Ito, which colour-blind people can tell apart, for stages that name none.
LOOKS = (
    *(Look("#0072B2"), Look("#D55E00", "////"), Look("#009E73", "...."), Look("#CC79A7", "xx")),
    *(Look("#E69F00", "\\\\\\\\"), Look("#56B4E9", "++"), Look("#B8860B", "oo"), Look("#332288", "**")),
)
OTHER = Look("#555555", "--")  # of networks that are no stage of the chain


@dataclass(frozen=True)
class Stage:
    """A stage of a chain.

    Args:
        name: of the stage, and of its folder in `outputs/<data>`.
        experiment: of `conf/experiment/`.
        overrides: of that experiment.
        data: `stills` or `clips`.
        split: whether its data have splits; a network of data without serves the chains of all splits.
        parents: stage by role: the name of a stream, or `parent` for a network of one stream.
        label: of the network in plots.
        look: of the network in plots.
        make: the Makefile's target; None without one.
    """

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()
    data: str = CLIPS
    split: bool = True
    parents: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    look: Look = OTHER
    make: str | None = None

    def run(self, split: int | None, seed: int | None, tag: str | None = None) -> str:
        """Name of the folder of the run that a chain of that split, seed and tag has."""
        return f"split{split if self.split else 1}-seed{seed}" + (f"-{tag}" if tag else "")


class Variant(NamedTuple):
    """A network beside the chain: a stage with other settings, in a folder of its own."""

    name: str
    of: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainConfig:
    """Stages by name, each after its parents, and the networks beside them."""

    name: str
    title: str
    stages: dict[str, Stage]
    variants: dict[str, Variant] = field(default_factory=dict)

    @property
    def last(self) -> Stage:
        """The stage that the chain leads to."""
        return [*self.stages.values()][-1]

    @property
    def clips(self) -> list[str]:
        """Stages on clips."""
        return [name for name, stage in self.stages.items() if stage.data == CLIPS]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Every (parent, child)."""
        return [(parent, stage.name) for stage in self.stages.values() for parent in stage.parents.values()]

    def upto(self, name: str) -> list[str]:
        """A stage after all that it starts from, in the chain's order."""
        wanted = {name}
        for parent, child in reversed(self.links):
            if child in wanted:
                wanted.add(parent)
        return [each for each in self.stages if each in wanted]

    def look(self, name: str) -> Look:
        """How plots show a network, of a stage or another one."""
        return self.stages[name].look if name in self.stages else OTHER

    def is_stills(self, name: str) -> bool:
        """Whether a network is of stills."""
        return name in self.stages and self.stages[name].data == STILLS


def load(name: str = DEFAULT) -> ChainConfig:
    """The chain of `conf/chain/<name>.yaml`.

    Raises:
        ActionRecError: there is no such file, or it holds no chain.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ActionRecError(f"chain={name}: use one of {', '.join(sorted(each.stem for each in FOLDER.glob('*')))}")
    return read(yaml.safe_load(path.read_text(encoding="utf-8")))


def of(config: DictConfig) -> ChainConfig:
    """The chain of a composed configuration.

    Raises:
        ActionRecError: it is no chain, see `read`.
    """
    return read(OmegaConf.to_container(config.chain, resolve=True))


def read(content: Any) -> ChainConfig:
    """A chain of plain types, as `conf/chain/` has them.

    Raises:
        ActionRecError: the first thing that is not what it may be, by its dotted key.
    """
    known = {"name", "title", "stages", "variants"}
    found = _mapping("chain", content, known)
    _require("chain.name", found.get("name"), rules.name)
    stages: dict[str, Stage] = {}
    for name, settings in _mapping("chain.stages", found.get("stages")).items():
        stages[name] = _stage(name, settings, stages)
    if not stages:
        raise ActionRecError("chain.stages is empty; name one stage or more")
    variants = {}
    for name, settings in _mapping("chain.variants", found.get("variants") or {}).items():
        key = f"chain.variants.{name}"
        said = _mapping(key, settings, {"of", "overrides"})
        if said.get("of") not in stages or name in stages:
            raise ActionRecError(f"{key}.of={said.get('of')}: use one of {', '.join(stages)}, under a name of its own")
        variants[name] = Variant(name, said["of"], _overrides(key, said))
    return ChainConfig(found["name"], str(found.get("title") or found["name"]), stages, variants)


def _stage(name: str, settings: Any, before: Mapping[str, Stage]) -> Stage:
    key = f"chain.stages.{name}"
    known = {"experiment", "overrides", "data", "split", "parents", "label", "colour", "hatch", "make"}
    said = _mapping(key, settings, known)
    _require(key, name, rules.name)
    _require(f"{key}.experiment", said.get("experiment"), rules.name)
    data, split, label = said.get("data", CLIPS), said.get("split", True), said.get("label") or name
    _require(f"{key}.data", data, rules.one_of(STILLS, CLIPS))
    _require(f"{key}.split", split, rules.flag)
    _require(f"{key}.label", label, rules.text)
    parents = _mapping(f"{key}.parents", said.get("parents") or {})
    for role, parent in parents.items():
        if parent not in before:
            raise ActionRecError(f"{key}.parents.{role}={parent}: use a stage that comes before it")
    if ALONE in parents and len(parents) > 1:
        raise ActionRecError(f"{key}.parents: {ALONE} is the role of an only parent; name the streams instead")
    default = LOOKS[len(before) % len(LOOKS)]
    colour, hatch = said.get("colour") or default.colour, said.get("hatch", default.hatch)
    if not re.fullmatch("#[0-9a-fA-F]{6}", str(colour)):
        raise ActionRecError(f"{key}.colour={colour}: use one such as '#0072B2'")
    if not re.fullmatch(r"[-/\\|+xoO.*]{0,8}", str(hatch)):
        raise ActionRecError(f"{key}.hatch={hatch}: use matplotlib's signs, such as '//'")
    make = said.get("make")
    _require(f"{key}.make", make, rules.maybe(rules.name, None))
    look = Look(str(colour), str(hatch))
    return Stage(name, said["experiment"], _overrides(key, said), data, split, parents, str(label), look, make)


def _overrides(key: str, said: Mapping[str, Any]) -> tuple[str, ...]:
    found = said.get("overrides") or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ActionRecError(f"{key}.overrides={found}: use a list of texts, such as ['data.size=112']")
    return tuple(found)


def _mapping(key: str, value: Any, known: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise ActionRecError(f"{key}={rules.shown(value)}: use a mapping, see conf/chain/{DEFAULT}.yaml")
    if known and (unknown := sorted(set(value) - known)):
        raise ActionRecError(f"{key}.{unknown[0]}: no such setting; use {', '.join(sorted(known))}")
    return dict(value)


def _require(key: str, value: Any, rule: rules.Rule) -> None:
    if words := rule(value):
        raise ActionRecError(f"{key}={rules.shown(value)}: use {words}")


def runs_of(config: DictConfig, names: Mapping[str, str], tag: str | None = None) -> Iterator[tuple[str, Path]]:
    """The folders of runs of stages, by what they are called in `names`, in a run's own split and seed."""
    stages = of(config).stages
    for role, name in names.items():
        place = Path(config.paths.outputs) / config.paths.name / name
        yield role, place / stages[name].run(config.split, config.seed, tag)


def _parents(_root_: DictConfig) -> Any:
    """`${parents:}`: the best checkpoints that a run starts from; None where the chain has no such stage."""
    stage = None if OmegaConf.is_missing(_root_, "stage") else of(_root_).stages.get(_root_.stage)
    found: dict[str, Any] = {}
    if stage:
        for role, run in runs_of(_root_, stage.parents, OmegaConf.select(_root_, "parent_tag")):
            found[role] = str(run / "checkpoints" / "best.ckpt")
    found.update(OmegaConf.to_container(_root_.parents, resolve=True))  # type: ignore[arg-type]
    return found.get(ALONE, OmegaConf.create(found)) if found else None


def _split(_root_: DictConfig) -> int | None:
    """`${run_split:}`: the split in the name of a run, 1 where its data know none."""
    stage = None if OmegaConf.is_missing(_root_, "stage") else of(_root_).stages.get(_root_.stage)
    return 1 if stage and not stage.split else _root_.split


OmegaConf.register_new_resolver("parents", _parents, replace=True)
OmegaConf.register_new_resolver("run_split", _split, replace=True)
