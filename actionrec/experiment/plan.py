"""The plan of a chain: its stages with their settings, and which of them have to be trained, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from actionrec.experiment.stages import named, overrides_of, stage_of, told
from actionrec.runs import folds, manifest
from actionrec.runs.folder import RunFolder, run_folder
from actionrec.runs.manifest import Manifest
from actionrec.settings import checks
from actionrec.settings.chain import ChainConfig
from actionrec.settings.composition import config_groups
from actionrec.system.errors import ActionRecError


class Found(NamedTuple):
    """The content of a run's folder: no finished run, or one with these differences from the wanted run."""

    missing: bool
    differences: Sequence[str] = ()

    @property
    def done(self) -> bool:
        """Whether the wanted run is finished."""
        return not (self.missing or self.differences)


@dataclass(frozen=True)
class Part:
    """A stage or a variant of the plan, and the reasons for training it.

    Args:
        name: of the stage or variant, or of a fold of a stage.
        whole: the part's settings, as `actionrec train` would compose them, including Hydra's settings.
        folder: of the part's run.
        found: the content of the folder.
        after: parents that have to be trained first.
        refused: whether the folder holds a run of other settings, which needs `overwrite=true`.
    """

    name: str
    whole: DictConfig
    folder: Path
    found: Found
    after: list[str]
    refused: bool


def wanted(chain: ChainConfig, upto: str | None, variants: bool) -> list[str]:
    """Names of the stages and variants up to `upto`, parents before children; `variants`: include all variants.

    Raises:
        ActionRecError: `upto` is neither a stage nor a variant.
    """
    if upto is None:
        names = [*chain.stages]
    elif upto in chain.variants:
        return [*chain.upto(chain.variants[upto].of)[:-1], upto]
    elif upto in chain.stages:
        names = chain.upto(upto)
    else:
        raise ActionRecError(f"upto={upto}: use one of {', '.join([*chain.stages, *chain.variants])}")
    return names + [each.name for each in chain.variants.values() if variants and each.of in names]


def plan(chain: ChainConfig, names: Sequence[str], config: DictConfig) -> Iterator[Part]:
    """Compose and check the parts of a chain, and compare each with the run in its folder."""
    trained: set[str] = set()
    planned: set[str] = set()
    for name in names:
        for part in _with_folds(chain, name, config):
            if part.name not in planned:  # two gated stages share their parents' folds
                planned.add(part.name)
                after = [parent for parent in part.after if parent in trained]
                if after or not part.found.done:
                    trained.add(part.name)
                yield replace(part, after=after)


def _with_folds(chain: ChainConfig, name: str, config: DictConfig) -> Iterator[Part]:
    """A stage or variant with its parents as `after`; if its fusion is a gate, after the other folds of its parents."""
    with named(name):
        whole = compose("train", overrides_of(chain, name, config), return_hydra_config=True)
        part = _part(name, whole, [*stage_of(chain, name).parents.values()])
    if folds.is_gated(whole) and not config.trainer.get("fast_dev_run"):
        for parent in stage_of(chain, name).parents.values():
            for fold in [*range(1, folds.COUNT + 1), *([folds.ALL] if folds.is_refit(whole) else [])]:
                label = f"{parent} fold {fold}"
                with named(label):
                    other = compose("train", overrides_of(chain, parent, config, fold), return_hydra_config=True)
                    yield _part(label, other, [*stage_of(chain, parent).parents.values()])
                part.after.append(label)
    yield part


def _part(name: str, whole: DictConfig, parents: list[str]) -> Part:
    with told(whole) as stage:
        checks.check(stage)
        checks.check_validation(stage, ranked=False)
        checks.check_stage(stage, HydraConfig.get().runtime.choices, config_groups())
        folder, now = run_folder(stage), manifest.create(stage)
        found = compared(folder, now, stage.resume is True)
        foreign = bool(found.differences) and not by_parents_alone(folder, now)
        refused = foreign and not stage.overwrite and not stage.trainer.get("fast_dev_run")
        return Part(name, whole, folder.path, found, parents, refused)


def compared(folder: RunFolder, wanted: Manifest, going_on: bool) -> Found:
    """The content of a run's folder; a run that `going_on` resumes with more epochs counts as missing."""
    if not folder.finished:
        return Found(missing=True)
    there = manifest.read(folder.path)
    differences = wanted.differences(there) if there else ["its settings are not known"]
    if going_on and there and differences and not wanted.differences(there, ("trainer.max_epochs",)):
        return Found(missing=True)
    return Found(missing=False, differences=differences)


def by_parents_alone(folder: RunFolder, now: Manifest) -> bool:
    """Whether a finished or interrupted run differs from the wanted run only in its parents' checkpoints."""
    for place in (folder.path, folder.partial):
        there = manifest.read(place) if place.is_dir() else None
        if there:
            return bool(now.differences(there)) and not replace(now, parents=there.parents).differences(there)
    return False


def described(part: Part) -> str:
    """Whether a part is done, missing or stale, and why, for people."""
    if part.found.done and not part.after:
        return "done"
    why = [*part.found.differences, *(f"{each} is trained first" for each in part.after)]
    state = "missing" if part.found.missing else "stale"
    return state + (f" ({manifest.listed(why)})" if why else "") + ("; needs overwrite=true" if part.refused else "")
