"""Optimisers and learning-rate schedules from settings: parameter groups, and arguments known only at run time."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.utils import get_object, instantiate
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from actionrec.settings.rules import direction
from actionrec.system.errors import ActionRecError

# Settings of a schedule for Lightning's `lr_scheduler` dict rather than for the scheduler's constructor.
_STEPPING = ("interval", "frequency", "monitor")
MONITOR = "val/loss"  # default of ReduceLROnPlateau


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    head_lr_factor: float = 1.0,
    backbone_lr_factor: float = 1.0,
    decay_norms: bool = True,
) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimiser, by part of the network and by weight decay.

    Parameters of a module that is called `backbone` belong to the backbone; all others, such as linear heads and
    fusion layers, belong to the head. Parameters with the same settings share a group. The default arguments give one
    group without a name, so that the optimiser state of runs before there were groups can be resumed.

    Args:
        parameters: names and parameters, as from `named_parameters`; parameters without gradients are left out.
        head_lr_factor: factor on the optimiser's learning rate for the head.
        backbone_lr_factor: factor on the optimiser's learning rate for the backbone.
        decay_norms: False gives weight decay 0 to parameters of one dimension: weights of norms, and biases.

    Returns:
        Groups with the keys `params`, `name` (such as `backbone` and `head_no_decay`), `lr_factor` (see
        `create_optimizer`), and `weight_decay` if it is 0; the single default group has only `params`.
    """
    groups: dict[str, dict[str, Any]] = {}
    by_part = head_lr_factor != backbone_lr_factor
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        in_backbone = "backbone" in name.split(".")
        decays = decay_norms or parameter.ndim > 1
        part = ("backbone" if in_backbone else "head") if by_part else "all"
        group = groups.setdefault(
            part if decays else f"{part}_no_decay",
            {
                "params": [],
                "lr_factor": backbone_lr_factor if in_backbone else head_lr_factor,
                **({} if decays else {"weight_decay": 0.0}),
            },
        )
        group["params"].append(parameter)
    if list(groups) == ["all"] and head_lr_factor == 1:
        return [{"params": groups["all"]["params"]}]
    return [{"name": name, **group} for name, group in groups.items()]


def create_optimizer(settings: Mapping[str, Any], groups: list[dict[str, Any]], clips: bool) -> Optimizer:
    """Create a torch optimiser; a group's learning rate is the settings' learning rate times the group's `lr_factor`.

    Args:
        settings: `_target_` and arguments. `fused: auto` uses the fused kernel unless gradients are clipped: Lightning
            refuses to clip under mixed precision for a fused optimiser, which unscales the gradients itself.
        groups: see `parameter_groups`.
        clips: whether the trainer clips gradients.

    Raises:
        ActionRecError: the settings have no `_target_`.
    """
    options = dict(settings)
    if "_target_" not in options:
        raise ActionRecError("optimizer has no _target_; use optimizer=adam, or optimizer={_target_: torch.optim.…}")
    if options.get("fused") == "auto":
        options["fused"] = not clips
    optimizer = instantiate(options, [dict(group) for group in groups])
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("lr_factor", 1.0)
    return optimizer


def create_schedule(
    settings: Mapping[str, Any], optimizer: Optimizer, total_steps: int, steps_per_epoch: int
) -> dict[str, Any]:
    """Create a learning-rate schedule, in the form of Lightning's `lr_scheduler`.

    A schedule with an argument `total_steps` or `steps_per_epoch`, such as those of `schedules` and torch's
    OneCycleLR, gets the argument from here and steps after every batch. Any other schedule, such as torch's StepLR,
    steps after every epoch.

    Args:
        settings: `_target_` and arguments; also `interval` (`epoch` or `step`), `frequency`, and for
            ReduceLROnPlateau `monitor`, by default `val/loss`.
        optimizer: the optimiser whose learning rates the schedule changes.
        total_steps: optimiser steps of the whole training.
        steps_per_epoch: optimiser steps of an epoch.

    Raises:
        ActionRecError: the settings name no class or function.
    """
    options = {key: value for key, value in settings.items() if key not in _STEPPING}
    if "_target_" not in options:
        raise ActionRecError("scheduler has no _target_; use scheduler=none, or {_target_: torch.optim.lr_scheduler.…}")
    taken = inspect.signature(_target(options["_target_"])).parameters
    known = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
    lengths = {key: value for key, value in known.items() if key in taken and options.get(key) is None}
    stepping = {"interval": "step" if lengths else "epoch", **{k: v for k, v in settings.items() if k in _STEPPING}}
    if _target(options["_target_"]) is ReduceLROnPlateau:
        stepping = {"monitor": MONITOR, **stepping}
        options = {"mode": direction(str(stepping["monitor"])), **options}
    return {"scheduler": instantiate({**options, **lengths}, optimizer), **stepping}


def _target(name: str) -> Any:
    """The class or function of a `_target_`."""
    try:
        return get_object(name)
    except (ImportError, ValueError) as error:
        raise ActionRecError(f"scheduler._target_={name}: {' '.join(str(error).split())}") from None
