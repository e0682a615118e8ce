"""Scalars of the trainer rather than of the module: learning rates, throughput, and a log line per epoch."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from actionrec.callbacks.tensorboard import step_of, writer_of

log = logging.getLogger(__name__)


class LogEpochLine(Callback):
    """Logs one line per epoch, for the log file, which has no progress bar."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        values = trainer.callback_metrics
        tags = ("train/loss", "train/acc", "val/loss", "val/acc")
        line = "  ".join(f"{tag} {float(values[tag]):.3f}" for tag in tags if tag in values)
        seconds = time.perf_counter() - self._started
        log.info("epoch %d/%s  %s  %.1f s", trainer.current_epoch + 1, trainer.max_epochs, line, seconds)


class LogLearningRate(Callback):
    """Logs the learning rates of every `log_every_n_steps`-th step, under the tags of `rates`.

    Lightning's LearningRateMonitor uses the optimiser's class name as the tag, so that runs with different optimisers
    would not share a chart, and requires a logger.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        writer = writer_of(trainer)
        if writer and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for optimizer in trainer.optimizers:
                for tag, rate in rates(optimizer).items():
                    writer.add_scalar(tag, rate, trainer.global_step)


def rates(optimizer: Optimizer) -> dict[str, float]:
    """Learning rates by tag: `lr/rate` for one parameter group, otherwise `lr/<name or number of the group>`."""
    groups = optimizer.param_groups
    if len(groups) == 1:
        return {"lr/rate": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', index)}": float(group["lr"]) for index, group in enumerate(groups)}


class LogThroughput(Callback):
    """Logs an epoch's duration and throughput.

    `speed/epoch_seconds` is the duration of the epoch including validation, `speed/samples_per_second` the number of
    training samples of all devices divided by the training time, and `speed/waiting_for_data` the share of the
    training time in which the loop waited for a batch.
    """

    def __init__(self) -> None:
        self._started = self._mark = self._worked = self._waited = 0.0
        self._samples = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = self._mark = time.perf_counter()
        self._worked = self._waited = 0.0
        self._samples = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._waited += self._lap()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        if trainer.is_last_batch and pl_module.device.type != "cpu":
            # Wait for queued GPU work, so that it counts in this epoch; once per epoch, to keep steps asynchronous.
            torch.accelerator.synchronize()
        self._worked += self._lap()
        self._samples += len(batch["label"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lap()  # validation counts neither as work nor as waiting; an epoch may have several validations

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer, seconds = writer_of(trainer), self._worked + self._waited
        if not writer or not seconds:
            return
        writer.add_scalar("speed/epoch_seconds", time.perf_counter() - self._started, step_of(trainer))
        writer.add_scalar("speed/samples_per_second", self._samples * trainer.world_size / seconds, step_of(trainer))
        writer.add_scalar("speed/waiting_for_data", self._waited / seconds, step_of(trainer))

    def _lap(self) -> float:
        """Seconds since the last call."""
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before
