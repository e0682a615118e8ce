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

from actionrec.modules.checkpoint_io import HPC
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path

log = logging.getLogger(__name__)

BEST, LAST = "best.ckpt", "last.ckpt"
RECORD = "best"  # key of a best checkpoint under which it says how good it is


class Score(NamedTuple):
    """How good an epoch is: first by `value`, the higher the better; where that is equal, by the lower `tie`."""

    value: float
    tie: float
    epoch: int

    def beats(self, other: "Score | None") -> bool:
        """Whether this is strictly better; an epoch does not beat an equal one before it."""
        return other is None or (self.value, -self.tie) > (other.value, -other.tie)


class BestCheckpoint(Checkpoint):
    """Keeps the weights of the best epoch as `best.ckpt`, a Lightning checkpoint without the optimiser.

    The weights are those that validation saw: where a callback averages weights (`WeightAveraging` and its kin swap
    the average in for validation alone), the average. The file itself says how good it is, so that a training that
    goes on elsewhere, from a moved or a copied folder, knows what it has to beat.

    Args:
        dirpath: folder of the checkpoints.
        monitor: tag of validation that decides.
        mode: `max` or `min`, whether the higher or the lower value of it is the better.
        tie_breaker: tag of validation of which the lower value decides between equals; None for the earlier epoch.

    Raises:
        ActionRecError: validation does not measure `monitor` or `tie_breaker`, or a callback swaps averaged weights
            in after the last validation only.
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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if stage == "fit" and any(isinstance(each, StochasticWeightAveraging) for each in callbacks):
            raise ActionRecError(
                "callbacks: StochasticWeightAveraging swaps its weights in after the last validation, so that no "
                "checkpoint of them can be chosen; use lightning.pytorch.callbacks.WeightAveraging, which averages "
                "the same weights and has each average validated"
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning calls checkpoint callbacks last, so that weights that a callback swaps in are in place by now.
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
        """Find the best weights beside the checkpoint that the training goes on from, and keep them.

        Where they are lost, the weights of that checkpoint take their place.
        """
        if trainer.state.fn != TrainerFn.FITTING or not trainer.ckpt_path:
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
        """How good the epoch is that was just validated."""
        metrics = trainer.callback_metrics
        for option, tag in (("monitor", self.monitor), ("tie_breaker", self.tie_breaker)):
            if tag is not None and tag not in metrics:
                measured = ", ".join(sorted(each for each in metrics if each.startswith("val/")))
                raise ActionRecError(f"callbacks.best.{option}={tag}: validation measures {measured}")
        value = self.sign * float(metrics[self.monitor])
        tie = float(metrics[self.tie_breaker]) if self.tie_breaker else 0.0
        # Not a number is worse than any number: nothing compares with it.
        return Score(
            -math.inf if math.isnan(value) else value, math.inf if math.isnan(tie) else tie, trainer.current_epoch
        )

    def _record(self, score: Score) -> dict[str, Any]:
        said = {"monitor": self.monitor, "sign": self.sign, "tie_breaker": self.tie_breaker}
        return {**said, **score._asdict()}

    def _score_of(self, record: dict[str, Any] | None) -> Score | None:
        """The score that a checkpoint says it has, unless another quantity decided there."""
        try:
            if not record or record["monitor"] != self.monitor or record["sign"] != self.sign:
                return None
            tie = float(record["tie"]) if record["tie_breaker"] == self.tie_breaker else math.inf
            return Score(float(record["value"]), tie, int(record["epoch"]))
        except (KeyError, TypeError, ValueError):  # the file may be anybody's
            return None

    def _score_before(self, checkpoint: dict[str, Any], epoch: int) -> Score | None:
        """The best score as Lightning's `ModelCheckpoint`, which runs had before, kept it in the whole state."""
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and state.get("monitor") == self.monitor:
                score = state.get("best_model_score")
                return None if score is None else Score(self.sign * float(score), math.inf, epoch)
        return None


class LastCheckpoint(Checkpoint):
    """Keeps the whole state after every epoch as `last.ckpt`, for a training to go on from.

    Args:
        dirpath: folder of the checkpoints.
    """

    def __init__(self, dirpath: str):
        self.path = Path(dirpath) / LAST

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what Lightning kept before a cluster job was requeued; see `AtomicCheckpointIO`."""
        if trainer.is_global_zero:
            for file in Path(trainer.default_root_dir).glob(f"{HPC}*"):
                file.unlink(missing_ok=True)


def checkpoints_whole(folder: Path) -> bool:
    """Whether a training can go on from a folder: `last.ckpt` loads, and so does a `best.ckpt` of the same run."""
    last = _load(folder / LAST)
    return last is not None and _weights_of_same_run(folder / BEST, last) is not None


def _weights_of_same_run(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint at `path`, if it loads and is of the run that another one is of."""
    kept = _load(path)
    if kept is None or "state_dict" not in kept:
        return None
    mine, theirs = (each.get("lineage") or {} for each in (checkpoint, kept))
    same = all(mine.get(key) == theirs.get(key) for key in ("stage", "data", "split", "seed", "actions"))
    return kept if same else None


def _load(path: Path) -> dict[str, Any] | None:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a file that is missing, cut or no checkpoint makes torch.load raise
        return None
    return loaded if isinstance(loaded, dict) else None
