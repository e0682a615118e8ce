"""Command-line overrides and composed settings for one stage of a chain, as for the other verbs' command lines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from actionrec.runs.folds import fold_run
from actionrec.settings.chain import CLIPS, STILLS, ChainConfig, Stage
from actionrec.settings.composition import config_groups
from actionrec.settings.messages import is_users, one_line
from actionrec.settings.overrides import for_hydra
from actionrec.system.errors import ActionRecError

OWN = ("upto", "dry_run", "fuse", "report", STILLS, CLIPS)  # settings of `actionrec chain` that no stage has


def overrides_of(chain: ChainConfig, name: str, config: DictConfig, fold: int | str = 0) -> list[str]:
    """Overrides of a command line for one stage or variant; if a key occurs twice, the last value counts.

    The stage of another `fold` than 0 keeps its last weights, since the clips that it holds out may choose nothing.
    """
    stage = stage_of(chain, name)
    given = list(HydraConfig.get().overrides.task)
    shared = [each for each in given if key_of(each) not in OWN]
    if config.tag is not None and "parent_tag" not in map(key_of, given):
        shared.append(f"parent_tag={config.tag}")
    kind = list(config[STILLS if stage.data == STILLS else CLIPS])  # alone: places of other data sets may be missing
    own = for_hydra([*kind, *stage.overrides], config_groups(), trains=True)
    found = [f"experiment={stage.experiment}", *shared, *own]
    if stage.name != stage.experiment:
        found.append(f"stage={stage.name}")
    if name != stage.name:
        variant = chain.variants[name]
        place = f"${{paths.outputs}}/${{paths.name}}/{name}/split${{run_split:}}-seed${{seed}}${{suffix:${{tag}}}}"
        return [*found, *variant.overrides, f"run_dir='{place}'"]
    if not fold:
        return found
    run = stage.run(config.split, config.seed, config.tag)
    held = fold_run(Path(config.paths.outputs) / config.paths.name / name / run, fold)
    chosen_by_val = [f"callbacks.{each}=null" for each in ("best", "early_stopping")]
    return [*found, f"data.fold={fold}", *chosen_by_val, f"run_dir='{held}'"]


def of_report(config: DictConfig) -> list[str]:
    """Overrides for `actionrec report` after a chain: its data, and the split, seed and tag to show in detail."""
    given = [each for each in HydraConfig.get().overrides.task if key_of(each).partition(".")[0] in ("paths", "chain")]
    shown = [f"split={config.split}", f"seed={config.seed}"]
    return [*given, *shown, *([f"tag='{config.tag}'"] if config.tag is not None else []), f"trust={list(config.trust)}"]


def stage_of(chain: ChainConfig, name: str) -> Stage:
    """The stage of a name, or the stage of the variant of that name."""
    return chain.stages[chain.variants[name].of if name in chain.variants else name]


@contextmanager
def composed(verb: str, overrides: Sequence[str]) -> Iterator[DictConfig]:
    """Compose the settings of a verb's command line; inside the context `HydraConfig` holds these settings."""
    with told(compose(verb, list(overrides), return_hydra_config=True)) as config:
        yield config


@contextmanager
def told(whole: DictConfig) -> Iterator[DictConfig]:
    """Yield composed settings without Hydra's own; inside the context `HydraConfig` holds Hydra's settings."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(whole)
    config = whole.copy()
    with open_dict(config):
        del config["hydra"]
    try:
        yield config
    finally:
        HydraConfig.instance().cfg = before


@contextmanager
def named(name: str) -> Iterator[None]:
    """Prefix the messages of user errors with the name of the stage."""
    try:
        yield
    except Exception as error:
        if not is_users(error):
            raise
        raise ActionRecError(f"{name}: {one_line(error)}") from error


def key_of(override: str) -> str:
    """The key or the group that an override sets."""
    return OverridesParser.create().parse_override(override).key_or_group
