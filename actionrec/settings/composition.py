"""Configurations composed by Hydra: where they lie, which groups they have, and as plain types."""

from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actionrec.settings.chain import CONF as CONF  # whose resolvers conf/ needs
from actionrec.settings.rules import direction

# `split1-seed0${suffix:${tag}}` is split1-seed0, or with a tag split1-seed0-<tag>.
OmegaConf.register_new_resolver("suffix", lambda tag: f"-{tag}" if tag else "", replace=True)
# `${times:a,b}` in conf/: the optimiser's own rate by the factor of the recipe.
OmegaConf.register_new_resolver("times", lambda a, b: float(f"{a * b:.12g}"), replace=True)
# `${direction:val/acc}` in conf/: whether the higher or the lower value of a metric is the better.
OmegaConf.register_new_resolver("direction", direction, replace=True)
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain types, interpolations resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


def config_groups() -> dict[str, list[str]]:
    """The choices of every config group, sorted."""
    groups: dict[str, list[str]] = {}
    for path in sorted(CONF.glob("*/*.yaml")):
        groups.setdefault(path.parent.name, []).append(path.stem)
    return groups


def in_multirun() -> bool:
    """Whether this is a job of a Hydra multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
