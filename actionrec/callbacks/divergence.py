"""A training whose loss is no number any more stops, and says where."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from actionrec.system.errors import DivergedError

NAMED = 8  # samples of a batch that the message names, at most


class _Loss(NamedTuple):
    """The loss of a batch, on its way to the host."""

    batch: int
    step: int
    names: Sequence[str]
    value: Tensor
    copied: Any  # an event of the device; None where the value needs none

    def arrived(self) -> bool:
        return self.copied is None or self.copied.query()


class Divergence(Callback):
    """Stops a training whose loss is not finite, before its weights are kept, and names the batch.

    No step waits for a GPU: losses are copied to the host behind the steps, and looked at once they are there, at the
    latest when the epoch is validated.

    Raises:
        DivergedError: the loss of a batch, or that of the validation, is not finite.
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
            raise DivergedError(f"epoch {trainer.current_epoch + 1}: the validation loss is {loss}; {_MEND}")

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
        mend = (
            _MEND if loss.step > 1 else "no step was made yet: look at these samples, and at the weights of init_from"
        )
        raise DivergedError(
            f"epoch {trainer.current_epoch + 1}, batch {loss.batch + 1}: the training loss is {value} "
            f"(samples {names}); {mend}"
        )


_MEND = "lower optimizer.lr, or clip gradients with trainer.gradient_clip_val=1"


def _to_host(value: Tensor) -> tuple[Tensor, Any]:
    """A number on its way from the device to the host, and the event that tells when it is there."""
    if value.device.type != "cuda":
        return value, None  # on the CPU it is there; elsewhere to look at it waits, as it does for Lightning's metrics
    host = torch.empty((), dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied
