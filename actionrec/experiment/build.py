"""Construction of data modules, modules, callbacks, loggers and lineages from a composed configuration."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from actionrec.settings.composition import plain
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from lightning import Callback
    from lightning.pytorch.loggers import Logger

    from actionrec.datamodules.base import ActionDataModule
    from actionrec.modules.base import ActionModule
    from actionrec.modules.parents import Parent


def create_data(config: DictConfig) -> "ActionDataModule":
    """Create the stage's data module, set up."""
    from hydra.utils import instantiate

    data = instantiate(config.data, _convert_="all")
    data.setup()
    return data


def create_module(config: DictConfig, data: "ActionDataModule", parents: "Mapping[str, Parent]") -> "ActionModule":
    """Create the stage's module for its data; streams with a parent load no pretrained weights.

    Args:
        config: of the run.
        data: the stage's data module, set up.
        parents: by role, see `modules.parents.open_parents`.
    """
    from hydra.utils import instantiate

    from actionrec.datamodules.balance import class_weights

    model = plain(config.model)
    for role, parent in parents.items():
        model[role if role in model else stream_names(config)[0]]["backbone"] |= parent.architecture()
    if model.get("class_weights") == "balanced":
        model["class_weights"] = class_weights(data.training_labels(), len(data.actions))
    return instantiate(model, actions=list(data.actions), inputs=data.inputs, _recursive_=False, _convert_="all")


def create_callbacks(config: DictConfig) -> "list[Callback]":
    """Create the configuration's callbacks; a callback that is set to null is left out.

    Raises:
        ActionRecError: a callback has settings but no `_target_`.
    """
    from hydra.utils import instantiate

    made = []
    for name, settings in (config.callbacks or {}).items():
        if settings is None:
            continue
        if "_target_" not in settings:
            raise ActionRecError(
                f"callbacks.{name} has no _target_; name its class, or its file: callbacks=[default,…]"
            )
        made.append(instantiate(settings))
    return made


# pip extras of the loggers that are not installed by default.
_EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}


def create_loggers(config: DictConfig) -> "list[Logger]":
    """Create the configuration's loggers: a single logger or loggers by name; a name set to null is left out.

    Raises:
        ActionRecError: a logger's package is not installed.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    made = []
    for name, each in logger_settings(config).items():
        try:
            made.append(instantiate(each))
        except InstantiationException as error:
            kind = str(each.get("_target_")).rpartition(".")[2]
            if kind in _EXTRAS and isinstance(error.__cause__, ImportError):
                extra = _EXTRAS[kind]
                raise ActionRecError(
                    f"logger={name or kind} needs a package: pip install 'actionrec[{extra}]'"
                ) from None
            raise
    return made


def logger_settings(config: DictConfig) -> dict[str, Any]:
    """Settings of the configuration's loggers by name, "" for a single logger, without those that are set to null."""
    settings = config.logger or {}
    named = {"": settings} if "_target_" in settings else settings
    return {str(name): each for name, each in named.items() if each}


def create_lineage(
    config: DictConfig,
    data: "ActionDataModule",
    parents: "Mapping[str, Parent]",
    module: "ActionModule",
    further: "Sequence[Parent]" = (),
) -> dict[str, Any]:
    """Create the lineage for this stage's checkpoints, after the module has got its parents' weights.

    Args:
        config: of the run.
        data: the stage's data module, set up.
        parents: by role, see `modules.parents.open_parents`.
        module: the stage's module.
        further: other checkpoints with weights of this stage's network.
    """
    from actionrec.modules.base import normalisation
    from actionrec.modules.checkpoint import Lineage, versions

    of = [*parents.values(), *further]
    trained_on = set(data.names("train")).union(*(parent.lineage["trained_on"] for parent in of))
    return Lineage(
        model=type(module).__name__,
        stage=config.stage,
        data=config.paths.name,
        split=data_split(config),
        seed=config.seed,
        actions=list(data.actions),
        backbone={name: plain(config.model)[name]["backbone"] for name in module.streams},
        inputs=data.inputs,
        trained_on=sorted(trained_on),
        parents={role: parent.record() for role, parent in parents.items()},
        versions=versions(),
        normalisation=normalisation(module),
    ).plain()


def data_split(config: DictConfig) -> int | None:
    """The official split of this stage's data; None for data sets with a single split."""
    return OmegaConf.select(config, "data.dataset.split")


def stream_names(config: DictConfig) -> list[str]:
    """Names of the streams of the stage's network, in the network's order."""
    return [str(name) for name, node in config.model.items() if isinstance(node, DictConfig) and "backbone" in node]
