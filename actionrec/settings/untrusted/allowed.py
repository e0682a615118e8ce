"""Allow-lists: the classes and functions that a file may have Hydra instantiate, by the place of their `_target_`.

The lists follow from the public names of this project's packages. Those packages read files through
`settings.untrusted`, so they are imported by name, when a list is used: an import at the top would be circular.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from actionrec.system.classes import concrete

MAX_DEPTH = 20  # of nested mappings and lists in a file

READERS = ("actionrec.streams.Flow",)  # streams that write nothing into their folder

_LIGHTNING_CALLBACKS = (
    *("BackboneFinetuning", "BatchSizeFinder", "EarlyStopping", "EMAWeightAveraging", "LearningRateFinder"),
    *("LearningRateMonitor", "ModelCheckpoint", "StochasticWeightAveraging", "WeightAveraging"),
)
_LIGHTNING_LOGGERS = ("CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger")
_LIGHTNING_PROFILERS = ("AdvancedProfiler", "SimpleProfiler")


def module_names() -> list[str]:
    """Names of the LightningModules of this project, sorted."""
    return sorted(set(_content("actionrec.modules")["__all__"]) - {"create"})


def modules() -> set[str]:
    """LightningModules of this project, and the function that creates one."""
    return _public("actionrec.modules")


def data_modules() -> set[str]:
    """LightningDataModules of this project, and the function that creates one."""
    return _public("actionrec.datamodules")


def data_sets() -> set[str]:
    """Data sets of this project."""
    return set(concrete("actionrec.datasets", _content("actionrec.datasets.base")["DataSet"]))


def modalities() -> set[str]:
    """Modalities of streams."""
    found = concrete("actionrec.streams", _content("actionrec.streams")["Modality"])
    return {*found, *(f"actionrec.streams.{name.rpartition('.')[2]}" for name in found)}


def optimizers() -> set[str]:
    """torch's optimisers."""
    import torch

    return _subclasses(torch.optim, torch.optim.Optimizer)


def schedulers() -> set[str]:
    """torch's learning-rate schedulers, and the schedules of this project."""
    import torch

    place = "actionrec.modules.schedules"
    functions = [each for each in _content(place).values() if inspect.isfunction(each) and each.__module__ == place]
    schedules = {f"{place}.{each.__name__}" for each in functions}
    return schedules | _subclasses(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler)


def callbacks() -> set[str]:
    """Callbacks of this project, and those of Lightning that neither run code of a file nor write elsewhere."""
    return _public("actionrec.callbacks") | {f"lightning.pytorch.callbacks.{name}" for name in _LIGHTNING_CALLBACKS}


def loggers() -> set[str]:
    """Loggers of this project, under today's name and the one of version 1, and of Lightning."""
    own = {"actionrec.callbacks.tensorboard.TensorBoard", "actionrec.tensorboard.TensorBoard"}
    return own | {f"lightning.pytorch.loggers.{name}" for name in _LIGHTNING_LOGGERS}


def profilers() -> set[str]:
    """Lightning's profilers."""
    return {f"lightning.pytorch.profilers.{name}" for name in _LIGHTNING_PROFILERS}


def trainers() -> set[str]:
    """The function that creates the trainer, under today's name and the one of version 1."""
    return {"actionrec.system.hardware.create_trainer", "actionrec.hardware.create_trainer"}


def _content(module: str) -> dict[str, Any]:
    """The names of a module and their values; the module is imported by its name, see above."""
    return vars(importlib.import_module(module))


def _public(package: str) -> set[str]:
    """Full names of a package's public classes and functions."""
    return {f"{package}.{name}" for name in _content(package)["__all__"]}


def _subclasses(module: Any, base: type) -> set[str]:
    """Full names of the concrete subclasses of `base` in a module, by that module and by the one that defines them."""
    found = [each for each in vars(module).values() if inspect.isclass(each) and issubclass(each, base)]
    concrete = [each for each in found if not inspect.isabstract(each)]
    return {f"{place}.{each.__name__}" for each in concrete for place in (module.__name__, each.__module__)}


# Dotted keys of the configuration at which a target may stand; `*` stands for any one key.
PLACES: dict[str, Callable[[], set[str]]] = {
    "dataset": data_sets,
    "data": data_modules,
    "data.dataset": data_sets,
    "data.*": modalities,
    "model": modules,
    "optimizer": optimizers,
    "model.optimizer": optimizers,
    "scheduler": schedulers,
    "model.scheduler": schedulers,
    "callbacks.*": callbacks,
    "logger": loggers,
    "logger.*": loggers,
    "trainer": trainers,
    "trainer.profiler": profilers,
}
# Arguments that name files: folders, which must lie at or below the run's own working folder, and names in them.
FOLDERS = ("config", "default_root_dir", "dirpath", "save_dir")
NAMES = ("filename", "name", "prefix", "sub_dir", "version")


def at(place: str) -> set[str]:
    """The targets that a file may name at a dotted key; empty where none is allowed."""
    listed = PLACES.get(place) or PLACES.get(f"{place.rpartition('.')[0]}.*")
    return listed() if listed else set()
