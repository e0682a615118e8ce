"""Checks before a training is resumed from an earlier training's checkpoint."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from actionrec.runs.folder import RunFolder
from actionrec.settings.untrusted import read_tensors
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from actionrec.modules.base import ActionModule

log = logging.getLogger(__name__)


def goes_on(run: RunFolder) -> bool:
    """Whether both checkpoints of an interrupted run load, so that the training can be resumed."""
    from actionrec.callbacks.best import checkpoints_whole

    if not checkpoints_whole(run.last.parent):
        log.warning(
            "%s: best.ckpt or last.ckpt is missing or damaged; the training starts from the beginning", run.partial
        )
        return False
    log.info("resumes %s", run.partial)
    return True


def check_resumable(path: Path, module: "ActionModule", config: DictConfig) -> None:
    """Raise unless a training can be resumed from a checkpoint.

    Raises:
        ActionRecError: the checkpoint holds no training state, is of another stage or network, or has a learning-rate
            schedule for another number of epochs.
    """
    from actionrec.modules.checkpoint import read
    from actionrec.modules.earlier import renew

    run = RunFolder(Path(config.run_dir))
    if path.is_relative_to(run.path) or path.is_relative_to(run.partial):
        checkpoint = read_tensors(path, "resume", "a checkpoint")
    else:
        checkpoint = read(path, "resume", list(config.trust))
    renew(checkpoint)  # it may be of an earlier version
    if "optimizer_states" not in checkpoint:
        raise ActionRecError(f"resume={path} holds weights but no training state; start from it with init_from")
    if checkpoint["lineage"]["stage"] != config.stage:
        raise ActionRecError(
            f"resume={path} is of stage {checkpoint['lineage']['stage']}, this is {config.stage}; start from it with "
            "init_from"
        )
    groups = [len(state["param_groups"]) for state in checkpoint["optimizer_states"]]
    if groups != [len(module.parameter_groups())]:
        raise ActionRecError(
            f"resume={path} has {groups[0] if groups else 0} parameter groups, this training has "
            f"{len(module.parameter_groups())}; set model.decay_norms, model.head_lr_factor and "
            "model.backbone_lr_factor as in the earlier training, or start from it with init_from"
        )
    own, theirs = module.state_dict(), checkpoint["state_dict"]
    if wrong := [key for key in own.keys() ^ theirs.keys() if key.startswith("network.")]:
        raise ActionRecError(f"resume={path} is of another network (at {min(wrong)}); start from it with init_from")
    if wrong := [key for key in own if key in theirs and own[key].shape != theirs[key].shape]:
        raise ActionRecError(f"resume={path} is of another network (at {wrong[0]}); start from it with init_from")
    done, steps = checkpoint.get("epoch", 0) + 1, checkpoint.get("global_step", 0)
    for state in checkpoint.get("lr_schedulers") or ():
        whole = state.get("total_steps") or state.get("T_max")
        if not (whole and steps) or state.get("last_epoch", steps) != steps:  # a schedule by epoch has no fixed end
            continue
        planned = round(whole * done / steps)
        if planned != config.trainer.max_epochs:
            raise ActionRecError(
                f"resume={path}: its learning-rate schedule was made for {planned} epochs and cannot stretch to "
                f"trainer.max_epochs={config.trainer.max_epochs}; train from the beginning, start from it with "
                f"init_from, or set trainer.max_epochs={planned}"
            )
