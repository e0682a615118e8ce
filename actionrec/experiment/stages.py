"""What the command lines of other verbs would say for one stage of a chain, and their settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from actionrec.settings.chain import CLIPS, STILLS, ChainConfig, Stage
from actionrec.settings.composition import config_groups
from actionrec.settings.messages import is_users, one_line
from actionrec.settings.overrides import for_hydra
from actionrec.system.errors import ActionRecError

OWN = ("upto", "dry_run", "fuse", "report", STILLS, CLIPS)  # settings of this verb, none of a stage


def overrides_of(chain: ChainConfig, name: str, config: DictConfig) -> list[str]:
    """What a command line would say for a stage or variant alone; of a key that comes twice the last counts."""
    stage = stage_of(chain, name)
    given = list(HydraConfig.get().overrides.task)
    shared = [each for each in given if key_of(each) not in OWN]
    if config.tag is not None and "parent_tag" not in map(key_of, given):
        shared.append(f"parent_tag={config.tag}")
    kind = list(config[STILLS if stage.data == STILLS else CLIPS])  # alone: places of other data sets may be missing
    own = for_hydra([*kind, *stage.overrides], config_groups(), trains=True)
    found = [f"experiment={stage.experiment}", *shared, *own]
    if name != stage.name:
        variant = chain.variants[name]
        place = f"${{paths.outputs}}/${{paths.name}}/{name}/split${{run_split:}}-seed${{seed}}${{suffix:${{tag}}}}"
        return [*found, *variant.overrides, f"run_dir='{place}'"]
    return found if name == stage.experiment else [*found, f"stage={name}"]


def of_report(config: DictConfig) -> list[str]:
    """What `actionrec report` is to be told of a chain: its data, and the split, seed and tag to show closely."""
    given = [each for each in HydraConfig.get().overrides.task if key_of(each).partition(".")[0] in ("paths", "chain")]
    shown = [f"split={config.split}", f"seed={config.seed}"]
    return [*given, *shown, *([f"tag='{config.tag}'"] if config.tag is not None else []), f"trust={list(config.trust)}"]


def stage_of(chain: ChainConfig, name: str) -> Stage:
    """The stage of that name, or the one that a variant of that name is of."""
    return chain.stages[chain.variants[name].of if name in chain.variants else name]


@contextmanager
def composed(verb: str, overrides: Sequence[str]) -> Iterator[DictConfig]:
    """The settings that a verb's command line composes; while it lasts, they are what `HydraConfig` tells of."""
    with told(compose(verb, list(overrides), return_hydra_config=True)) as config:
        yield config


@contextmanager
def told(whole: DictConfig) -> Iterator[DictConfig]:
    """Settings without Hydra's own, which `HydraConfig` tells of while it lasts."""
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
    """Have errors of what the user gave begin with the name of the stage that they are of."""
    try:
        yield
    except Exception as error:
        if not is_users(error):
            raise
        raise ActionRecError(f"{name}: {one_line(error)}") from error


def key_of(override: str) -> str:
    """The key or the group that an override sets."""
    return OverridesParser.create().parse_override(override).key_or_group
