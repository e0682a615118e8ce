"""Chains of stages, as declared in `conf/chain/`: the data of each stage, and the stages that it starts from.

`init_from`, the folders of runs, `actionrec chain`, and the stages and colours of the report follow from a chain.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from actionrec.settings import rules
from actionrec.settings.rules import require
from actionrec.settings.values import maybe, one_of, shown
from actionrec.system.errors import ActionRecError

DEFAULT = "two_stream"  # also the default of conf/train.yaml, conf/report.yaml and the Makefile
_PACKAGE = Path(__file__).parents[1]
# A wheel has conf/ inside the package, a checkout beside it.
CONF = next(each for each in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if each.is_dir())
FOLDER = CONF / "chain"
NOTE = "chain.yaml"  # in `outputs/<data>`: the chain that was last trained there
ALONE = "parent"  # role of the parent of a network of one stream
STILLS, CLIPS = "stills", "clips"


class Look(NamedTuple):
    """A network's colour in plots, and its hatch, which tells networks apart in greyscale print."""

    colour: str
    hatch: str = ""


# Defaults of the stages: the palette of Okabe and Ito, which colour-blind people can tell apart.
LOOKS = (
    *(Look("#0072B2"), Look("#D55E00", "////"), Look("#009E73", "...."), Look("#CC79A7", "xx")),
    *(Look("#E69F00", "\\\\\\\\"), Look("#56B4E9", "++"), Look("#B8860B", "oo"), Look("#332288", "**")),
)
OTHER = Look("#555555", "--")  # of networks that are not stages of the chain
# Variants of a stage with `fusions`, which learn nothing more than its parents: the product of the probabilities, and
# gates, fitted to the parents' folds, over the parents' own networks, those of all clips, and those of all folds.
FUSIONS = {
    "product": ["model.fusion=product"],
    "gated": ["model.fusion=gated"],
    "refit": ["model.fusion=gated", "refit=true"],
    "bagged": ["model.fusion=gated", "model.members=5"],
}


@dataclass(frozen=True)
class Stage:
    """A stage of a chain.

    Args:
        name: of the stage, and of its folder in `outputs/<data>`.
        experiment: of `conf/experiment/`.
        overrides: of that experiment.
        data: `stills` or `clips`.
        split: whether its data have splits. A stage whose data have none is trained once, for the chains of all splits.
        parents: stage by role: the name of a stream, or `parent` for a network of one stream.
        fusions: whether the stage has the variants `FUSIONS`, under its own name and theirs.
        label: of the network in plots.
        look: of the network in plots.
        make: target of the Makefile, if there is one.
    """

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()
    data: str = CLIPS
    split: bool = True
    parents: Mapping[str, str] = field(default_factory=dict)
    fusions: bool = False
    label: str = ""
    look: Look = OTHER
    make: str | None = None

    def run(self, split: int | None, seed: int | None, tag: str | None = None) -> str:
        """Name of this stage's run folder in the chain of that split, seed and tag."""
        return f"split{split if self.split else 1}-seed{seed}" + (f"-{tag}" if tag else "")


class Variant(NamedTuple):
    """A stage `of` the chain with other settings, in a run folder of its own; no stage starts from it."""

    name: str
    of: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainConfig:
    """Stages by name, each after its parents, and variants of stages."""

    name: str
    title: str
    stages: dict[str, Stage]
    variants: dict[str, Variant] = field(default_factory=dict)

    @property
    def last(self) -> Stage:
        """The last stage."""
        return [*self.stages.values()][-1]

    @property
    def clips(self) -> list[str]:
        """Names of the stages that are trained on clips."""
        return [name for name, stage in self.stages.items() if stage.data == CLIPS]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Names of every pair of a stage and one that starts from it."""
        return [(parent, stage.name) for stage in self.stages.values() for parent in stage.parents.values()]

    def upto(self, name: str) -> list[str]:
        """Names of a stage's ancestors and of the stage itself, in the order of the chain."""
        wanted = {name}
        for parent, child in reversed(self.links):
            if child in wanted:
                wanted.add(parent)
        return [each for each in self.stages if each in wanted]

    def as_run(self, there: Collection[str]) -> "ChainConfig":
        """The chain with a variant in the place of each stage that has no run and from which no stage starts.

        The variant is the last one of the stage that has a run, such as a bagged gate.

        Args:
            there: names of the stages and variants that have runs.
        """
        stages = {}
        for name, stage in self.stages.items():
            beside = [each for each in self.variants.values() if each.of == name and each.name in there]
            if beside and name not in there and not any(parent == name for parent, _ in self.links):
                variant = beside[-1]
                label = f"{stage.label}, {variant.name.removeprefix(f'{name}_')}"
                overrides = (*stage.overrides, *variant.overrides)
                stage = replace(stage, name=variant.name, overrides=overrides, label=label, make=None)
            stages[stage.name] = stage
        return replace(self, stages=stages)

    def look(self, name: str) -> Look:
        """Colour and hatch of a stage or of another network."""
        return self.stages[name].look if name in self.stages else OTHER

    def is_stills(self, name: str) -> bool:
        """Whether a network is a stage that is trained on stills."""
        return name in self.stages and self.stages[name].data == STILLS


def load(name: str = DEFAULT) -> ChainConfig:
    """The chain of `conf/chain/<name>.yaml`.

    Raises:
        ActionRecError: there is no such file, or its content is not a chain, see `read`.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ActionRecError(f"chain={name}: use one of {', '.join(sorted(each.stem for each in FOLDER.glob('*')))}")
    return read(yaml.safe_load(path.read_text(encoding="utf-8")))


def of(config: DictConfig) -> ChainConfig:
    """The chain of a composed configuration.

    Raises:
        ActionRecError: the setting `chain` is not a chain, see `read`.
    """
    return read(OmegaConf.to_container(config.chain, resolve=True))


def read(content: Any) -> ChainConfig:
    """A chain of plain types, as `conf/chain/` has them.

    Raises:
        ActionRecError: a key is unknown or missing, or its value is wrong; the message names the dotted key.
    """
    known = {"name", "title", "stages", "variants"}
    found = _mapping("chain", content, known)
    require("chain.name", found.get("name"), rules.name)
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
    for fusion in (fusion for stage in stages.values() if stage.fusions for fusion in _fusions(stage)):
        if fusion.name in variants or fusion.name in stages:
            raise ActionRecError(
                f"chain: {fusion.name} is a variant of {fusion.of} by its fusions=true; give the other another name"
            )
        variants[fusion.name] = fusion
    return ChainConfig(found["name"], str(found.get("title") or found["name"]), stages, variants)


def _fusions(stage: Stage) -> Iterator[Variant]:
    for kind, own in FUSIONS.items():
        yield Variant(f"{stage.name}_{kind}", stage.name, (*own, f"model.frozen=[{','.join(stage.parents)}]"))


def _stage(name: str, settings: Any, before: Mapping[str, Stage]) -> Stage:
    key = f"chain.stages.{name}"
    known = {"experiment", "overrides", "data", "split", "parents", "fusions", "label", "colour", "hatch", "make"}
    said = _mapping(key, settings, known)
    require(key, name, rules.name)
    require(f"{key}.experiment", said.get("experiment"), rules.name)
    data, label = said.get("data", CLIPS), said.get("label") or name
    split, fusions = said.get("split", True), said.get("fusions", False)
    require(f"{key}.data", data, one_of(STILLS, CLIPS))
    require(f"{key}.split", split, rules.flag)
    require(f"{key}.fusions", fusions, rules.flag)
    require(f"{key}.label", label, rules.filled)
    parents = _mapping(f"{key}.parents", said.get("parents") or {})
    for role, parent in parents.items():
        if parent not in before:
            raise ActionRecError(f"{key}.parents.{role}={parent}: use a stage that comes before it")
    if ALONE in parents and len(parents) > 1:
        raise ActionRecError(f"{key}.parents: {ALONE} is the role of an only parent; name the streams instead")
    if fusions and len(parents) < 2:
        raise ActionRecError(f"{key}.fusions: name a parent of each stream, two or more")
    default = LOOKS[len(before) % len(LOOKS)]
    colour, hatch = said.get("colour") or default.colour, said.get("hatch", default.hatch)
    if not re.fullmatch("#[0-9a-fA-F]{6}", str(colour)):
        raise ActionRecError(f"{key}.colour={colour}: use one such as '#0072B2'")
    if not re.fullmatch(r"[-/\\|+xoO.*]{0,8}", str(hatch)):
        raise ActionRecError(f"{key}.hatch={hatch}: use matplotlib's signs, such as '//'")
    make = said.get("make")
    require(f"{key}.make", make, maybe(rules.name, None))
    look = Look(str(colour), str(hatch))
    return Stage(name, said["experiment"], _overrides(key, said), data, split, parents, fusions, str(label), look, make)


def _overrides(key: str, said: Mapping[str, Any]) -> tuple[str, ...]:
    found = said.get("overrides") or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ActionRecError(f"{key}.overrides={found}: use a list of texts, such as ['data.size=112']")
    return tuple(found)


def _mapping(key: str, value: Any, known: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise ActionRecError(f"{key}={shown(value)}: use a mapping, see conf/chain/{DEFAULT}.yaml")
    if known and (unknown := sorted(set(value) - known)):
        raise ActionRecError(f"{key}.{unknown[0]}: no such setting; use {', '.join(sorted(known))}")
    return dict(value)


def runs_of(
    config: DictConfig, names: Mapping[str, str], tag: str | None = None, seed: int | None = None
) -> Iterator[tuple[str, Path]]:
    """The run folder of each stage in `names`, in the configuration's split, with the stage's key there.

    `seed` is that of the runs; None is the configuration's.
    """
    stages = of(config).stages
    for role, name in names.items():
        place = Path(config.paths.outputs) / config.paths.name / name
        yield role, place / stages[name].run(config.split, config.seed if seed is None else seed, tag)


def _parents(seed: int | None = None, *, _root_: DictConfig) -> Any:
    """`${parents:}`: paths of the best checkpoints that a run starts from; None for stages without parents.

    `${parents:0}` are those of the parents of seed 0, for a sweep over seeds.
    """
    stage = None if OmegaConf.is_missing(_root_, "stage") else of(_root_).stages.get(_root_.stage)
    found: dict[str, Any] = {}
    if stage:
        for role, run in runs_of(_root_, stage.parents, OmegaConf.select(_root_, "parent_tag"), seed):
            found[role] = str(run / "checkpoints" / "best.ckpt")
    found.update(OmegaConf.to_container(_root_.parents, resolve=True))  # type: ignore[arg-type]
    return found.get(ALONE, OmegaConf.create(found)) if found else None


def _split(_root_: DictConfig) -> int | None:
    """`${run_split:}`: the split in the name of a run; 1 for data without splits."""
    stage = None if OmegaConf.is_missing(_root_, "stage") else of(_root_).stages.get(_root_.stage)
    return 1 if stage and not stage.split else _root_.split


OmegaConf.register_new_resolver("parents", _parents, replace=True)
OmegaConf.register_new_resolver("run_split", _split, replace=True)
