"""Stop a diverged training: the loss is NaN or infinite."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from actionrec.system.errors import DivergedError

NAMED = 8  # the error message names at most this many samples of the batch


class _Loss(NamedTuple):
    """The loss of a batch, during its asynchronous copy from the device to the host."""

    batch: int
    step: int
    names: Sequence[str]
    value: Tensor
    copied: Any  # CUDA event that the copy is complete; None if the value needs no copy

    def arrived(self) -> bool:
        return self.copied is None or self.copied.query()


class Divergence(Callback):
    """Stops a training whose loss is not finite, before a checkpoint is written, and names the batch.

    No step forces a device sync: losses are copied to the host asynchronously and checked as soon as the copy is
    complete, at the latest when the epoch is validated.

    Raises:
        DivergedError: the loss of a batch, or the validation loss, is not finite.
    """

    def __init__(self) -> None:
        self._losses: deque[_Loss] = deque()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._losses.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        value, copied = _to_host(outputs["loss"].detach())
        self._losses.append(_Loss(batch_idx, trainer.global_step, batch["name"], value, copied))
        while self._losses and self._losses[0].arrived():
            self._check(trainer, self._losses.popleft())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_all(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_all(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        loss = float(trainer.callback_metrics.get("val/loss", 0.0))
        if not math.isfinite(loss):
            raise DivergedError(f"epoch {trainer.current_epoch + 1}: the validation loss is {loss}; {_HINT}")

    def _check_all(self, trainer: Trainer) -> None:
        while self._losses:
            loss = self._losses.popleft()
            if loss.copied is not None:
                loss.copied.synchronize()
            self._check(trainer, loss)

    def _check(self, trainer: Trainer, loss: _Loss) -> None:
        value = float(loss.value)
        if math.isfinite(value):
            return
        names = ", ".join(loss.names[:NAMED]) + (", …" if len(loss.names) > NAMED else "")
        first_step = "this is the first step: check these samples, and the weights of init_from"
        hint = _HINT if loss.step > 1 else first_step
        raise DivergedError(
            f"epoch {trainer.current_epoch + 1}, batch {loss.batch + 1}: the training loss is {value} "
            f"(samples {names}); {hint}"
        )


_HINT = "lower optimizer.lr, or clip gradients with trainer.gradient_clip_val=1"


def _to_host(value: Tensor) -> tuple[Tensor, Any]:
    """Start an asynchronous copy of a number to the host; returns the copy and the event of its completion."""
    if value.device.type != "cuda":
        return value, None  # no copy on the CPU; other devices sync when the value is read, as for Lightning's metrics
    host = torch.empty((), dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied
