"""The two checkpoints of a run: the best epoch's weights, and the whole state after the last epoch."""

import logging
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, StochasticWeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from actionrec.system.checkpoint_io import HPC
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path

log = logging.getLogger(__name__)

BEST, LAST = "best.ckpt", "last.ckpt"
RECORD = "best"  # key of the score in a best checkpoint


class Score(NamedTuple):
    """Score of an epoch: a higher `value` is better; if two values are equal, the lower `tie` is better."""

    value: float
    tie: float
    epoch: int

    def beats(self, other: "Score | None") -> bool:
        """Whether this score is strictly better; a later epoch does not beat an earlier epoch of equal score."""
        return other is None or (self.value, -self.tie) > (other.value, -other.tie)


class BestCheckpoint(Checkpoint):
    """Keeps the weights of the best epoch as `best.ckpt`, a Lightning checkpoint without the optimiser.

    The weights kept are the weights that were validated. If a callback averages weights (`WeightAveraging` and its
    subclasses swap the average in for the validation), the average is kept. The file records the epoch's score, so
    that a training resumed from a moved or copied folder compares new epochs with that score.

    Args:
        dirpath: folder of the checkpoints.
        monitor: validation metric that ranks the epochs.
        mode: `max` if a higher value of `monitor` is better, `min` if a lower value is better.
        tie_breaker: validation metric whose lower value decides between epochs of equal `monitor`; None keeps the
            earlier epoch.

    Raises:
        ActionRecError: validation does not measure `monitor` or `tie_breaker`, or a callback swaps averaged weights
            in only after the last validation.
    """

    def __init__(self, dirpath: str, monitor: str = "val/acc", mode: str = "max", tie_breaker: str | None = "val/loss"):
        if mode not in ("max", "min"):
            raise ActionRecError(f"callbacks.best.mode={mode}: use max or min")
        self.path = Path(dirpath) / BEST
        self.monitor = monitor
        self.sign = 1.0 if mode == "max" else -1.0
        self.tie_breaker = tie_breaker
        self.best: Score | None = None
        self._current: Score | None = None
        self._validated: dict[str, Tensor] = {}

    @classmethod
    def of(cls, trainer: Trainer) -> "BestCheckpoint | None":
        """The trainer's `BestCheckpoint`; None for a training that keeps its last epoch."""
        return next((each for each in trainer.checkpoint_callbacks if isinstance(each, cls)), None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if stage == "fit" and any(isinstance(each, StochasticWeightAveraging) for each in callbacks):
            raise ActionRecError(
                "callbacks: StochasticWeightAveraging swaps the averaged weights in after the last validation, so no "
                "checkpoint of the average can be chosen; use lightning.pytorch.callbacks.WeightAveraging, which "
                "averages the same weights and validates each average"
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning calls checkpoint callbacks last, after other callbacks have swapped averaged weights in.
        if not trainer.sanity_checking:
            state = trainer.strategy.lightning_module_state_dict()
            self._validated = {name: value.detach().clone() for name, value in state.items()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._current = self._score(trainer)
        if self._current.beats(self.best):
            self.best = self._current
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
            trainer.strategy.save_checkpoint(
                {**checkpoint, "state_dict": self._validated, RECORD: self._record(self.best)}, self.path
            )
            trainer.strategy.barrier("best checkpoint")
        self._validated = {}

    def state_dict(self) -> dict[str, Any]:
        return {"current": self._record(self._current)} if self._current else {}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Copy `best.ckpt` from beside the checkpoint that the training resumes from.

        If `best.ckpt` is missing or damaged, the weights of the resumed checkpoint become the best so far.
        """
        if trainer.state.fn != TrainerFn.FITTING or not trainer.ckpt_path:
            return
        if not checkpoint["global_step"]:  # the start, to which LearningRateFinder and BatchSizeFinder return
            return
        source = Path(trainer.ckpt_path).with_name(BEST)
        kept = _weights_of_same_run(source, checkpoint)
        if kept:
            self.best = self._score_of(kept.get(RECORD)) or self._score_before(checkpoint, int(kept["epoch"]))
            if trainer.is_global_zero and source.resolve() != self.path.resolve():
                with atomic_path(self.path) as temporary:
                    shutil.copyfile(source, temporary)
        else:
            self.best = self._score_of(checkpoint.get("callbacks", {}).get(self.state_key, {}).get("current"))
            log.warning(
                "%s is missing or damaged; the weights of %s, of epoch %d, count as the best before those to come",
                source,
                Path(trainer.ckpt_path).name,
                checkpoint["epoch"] + 1,
            )
            if trainer.is_global_zero:
                left_out = ("callbacks", "optimizer_states", "lr_schedulers", "current_model_state", "averaging_state")
                weights = {key: value for key, value in checkpoint.items() if key not in left_out}
                record = {RECORD: self._record(self.best)} if self.best else {}
                trainer.strategy.checkpoint_io.save_checkpoint({**weights, **record}, self.path)
        trainer.strategy.barrier("best checkpoint")

    def _score(self, trainer: Trainer) -> Score:
        """The score of the epoch that was just validated."""
        metrics = trainer.callback_metrics
        for option, tag in (("monitor", self.monitor), ("tie_breaker", self.tie_breaker)):
            if tag is not None and tag not in metrics:
                measured = ", ".join(sorted(each for each in metrics if each.startswith("val/")))
                raise ActionRecError(f"callbacks.best.{option}={tag}: validation measures {measured}")
        value = self.sign * float(metrics[self.monitor])
        tie = float(metrics[self.tie_breaker]) if self.tie_breaker else 0.0
        # NaN counts as worse than any number, since comparisons with NaN are always false.
        return Score(
            -math.inf if math.isnan(value) else value, math.inf if math.isnan(tie) else tie, trainer.current_epoch
        )

    def _record(self, score: Score) -> dict[str, Any]:
        said = {"monitor": self.monitor, "sign": self.sign, "tie_breaker": self.tie_breaker}
        return {**said, **score._asdict()}

    def _score_of(self, record: dict[str, Any] | None) -> Score | None:
        """The score that a checkpoint records; None if another metric ranked the epochs of that training."""
        try:
            if not record or record["monitor"] != self.monitor or record["sign"] != self.sign:
                return None
            tie = float(record["tie"]) if record["tie_breaker"] == self.tie_breaker else math.inf
            return Score(float(record["value"]), tie, int(record["epoch"]))
        except (KeyError, TypeError, ValueError):  # the file may come from anywhere
            return None

    def _score_before(self, checkpoint: dict[str, Any], epoch: int) -> Score | None:
        """The best score of a run of an earlier version, from the state of Lightning's `ModelCheckpoint`."""
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and state.get("monitor") == self.monitor:
                score = state.get("best_model_score")
                return None if score is None else Score(self.sign * float(score), math.inf, epoch)
        return None


class LastCheckpoint(Checkpoint):
    """Keeps the whole training state after every epoch as `last.ckpt`, for resuming.

    Args:
        dirpath: folder of the checkpoints.
    """

    def __init__(self, dirpath: str):
        self.path = Path(dirpath) / LAST

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the checkpoints that Lightning wrote before a cluster job was requeued; see `AtomicCheckpointIO`."""
        if trainer.is_global_zero:
            for file in Path(trainer.default_root_dir).glob(f"{HPC}*"):
                file.unlink(missing_ok=True)


def checkpoints_whole(folder: Path) -> bool:
    """Whether a training can be resumed from a folder: `last.ckpt` and a `best.ckpt` of the same run both load."""
    last = _load(folder / LAST)
    return last is not None and _weights_of_same_run(folder / BEST, last) is not None


def _weights_of_same_run(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint at `path`; None if the file does not load, or is not of the same run as `checkpoint`."""
    kept = _load(path)
    if kept is None or "state_dict" not in kept:
        return None
    mine, theirs = (each.get("lineage") or {} for each in (checkpoint, kept))
    same = all(mine.get(key) == theirs.get(key) for key in ("stage", "data", "split", "seed", "actions"))
    return kept if same else None


def _load(path: Path) -> dict[str, Any] | None:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch.load raises many types for missing, truncated and foreign files
        return None
    return loaded if isinstance(loaded, dict) else None
