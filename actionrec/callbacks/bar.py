"""The progress bar of a training and of a measurement, on the terminal's last line."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from actionrec.system import gauges, terminal

READ = 0.5  # seconds between two readings of the loss; a reading forces a device sync
MEMORY = 0.9  # weight of the old value in the running loss (exponential moving average over readings)
LONG = (
    2.0  # seconds of one activity after which the bar counts the seconds, so that compiling does not look like a hang
)


class ProgressBar(Callback):
    """Epoch, running loss, last validation accuracy, training samples per second, and time left for all epochs.

    The time left counts the training batches, the validations, and all other work of an epoch, such as checkpoints.
    Where the terminal has no last line (see `system.terminal`), the bar's text is logged after half a minute without
    another line in the log.
    """

    def __init__(self) -> None:
        self.part = ""  # part of the data that a measurement measures
        self.clock = Clock()
        self._loss: float | None = None
        self._accuracy: float | None = None
        self._samples, self._read = 0, 0.0
        self._doing = ""
        self._epoch = self._epochs = 0
        self._shown: AbstractContextManager[None] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._leave()  # a failed training before this one may have left its bar

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch, self._epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        batches = _count(trainer.num_training_batches)
        answers = sum(map(_count, _listed(trainer.num_val_batches)))
        self.clock = Clock(self._epochs - trainer.current_epoch, batches, answers)
        self._enter(trainer, self._training)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch, self._samples, self._doing = trainer.current_epoch + 1, 0, ""
        self.clock.begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        self._samples += len(batch["label"]) * trainer.world_size
        self._doing = ""
        self.clock.trained()
        now = time.monotonic()
        if self._shown and now - self._read > READ and (loss := _loss_of(outputs)) is not None:
            self._read = now
            value = float(loss)
            self._loss = value if self._loss is None else MEMORY * self._loss + (1 - MEMORY) * value

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._doing = "validating"

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        if trainer.training or trainer.validating:
            self.clock.validated()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and "val/acc" in trainer.callback_metrics:
            self._accuracy = float(trainer.callback_metrics["val/acc"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._doing = "saving"
        self.clock.end()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = sum(map(_count, _listed(trainer.num_test_batches)))
        self._count = gauges.Count(f"measuring {self.part}".strip(), "batches", batches)
        self._enter(trainer, self._count.text)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self._count.done += 1

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave()

    def _training(self, width: int) -> str:
        facts = [] if self._loss is None else [f"loss {self._loss:.3f}"]
        facts += [] if self._accuracy is None else [f"val/acc {self._accuracy:.3f}"]
        if rate := self.clock.rate(self._samples):
            facts.append(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
        left = self.clock.left()
        facts += [] if left is None else [f"{terminal.duration(left)} left"]
        waited = time.monotonic() - self.clock.mark
        doing = self._doing or ("next batch" if self.clock.batches else "first batch")
        if waited > LONG:
            facts.append(f"{doing} … {terminal.duration(waited)}")
        elif self._doing:
            facts.append(self._doing)
        return gauges.gauge(f"epoch {self._epoch}/{self._epochs}", self.clock.fraction(), "  ".join(facts), width)

    def _enter(self, trainer: Trainer, text: terminal.Text) -> None:
        self._leave()
        if trainer.is_global_zero:
            self._shown = terminal.showing(text)
            self._shown.__enter__()

    def _leave(self) -> None:
        if self._shown:
            self._shown.__exit__(None, None, None)
            self._shown = None


class Clock:
    """Progress of a training, and an estimate of the time left from the duration of its batches and epochs so far.

    Args:
        epochs: number of epochs still to train.
        train: training batches per epoch.
        val: validation batches per epoch.
    """

    def __init__(self, epochs: int = 0, train: int = 0, val: int = 0):
        self.epochs, self.train, self.val = epochs, train, val
        self.finished = 0  # finished epochs
        self.batches = self._answers = 0  # finished training and validation batches of this epoch
        self.mark = time.monotonic()  # time at which the last batch ended or the epoch began
        self._began = self.mark  # time at which this epoch began, or, between two epochs, at which the last one ended
        self._epoch_seconds = 0.0  # duration of the last complete epoch, including all callbacks
        self._step_seconds = 0.0  # sum over this epoch's batches after the first, which waits for loaders and compilers
        self._first = 0.0  # duration of this epoch's first training batch
        self._validation = 0.0  # mean duration of a validation batch

    def begin(self) -> None:
        """An epoch begins."""
        now = time.monotonic()
        if self.finished:
            self._epoch_seconds += now - self._began  # checkpoints are written after `end`
        self.batches = self._answers = 0
        self._began = self.mark = now
        self._step_seconds = self._first = 0.0

    def trained(self) -> None:
        """A training batch is done."""
        lap = self._lap()
        self.batches += 1
        if self.batches == 1:
            self._first = lap
        else:
            self._step_seconds += lap

    def validated(self) -> None:
        """A validation batch is done."""
        lap = self._lap()
        self._answers += 1
        if self._answers > 1:
            self._validation += (lap - self._validation) / (self._answers - 1)
        else:
            self._validation = lap

    def end(self) -> None:
        """An epoch is over, with its validation."""
        now = time.monotonic()
        once = 0.0
        if not self.finished and self.batches > 1:  # only the first batch of the first epoch waits for a compiler
            once = max(self._first - self._step_seconds / (self.batches - 1), 0.0)
        self._epoch_seconds = now - self._began - once
        self._began = now
        self.finished += 1
        self.batches = self._answers = 0

    def rate(self, samples: int) -> float:
        """Training samples per second of this epoch, given its number of samples so far; 0 if not yet known."""
        done = self.batches  # read once: the terminal's thread calls this while the training increments the count
        seconds, timed = (self._step_seconds, done - 1) if done > 1 else (self._first, done)
        return samples * timed / done / seconds if done and seconds else 0.0

    def fraction(self) -> float:
        """Finished share of all batches, from 0 to 1."""
        whole = self.epochs * (self.train + self.val)
        done = self.finished * (self.train + self.val) + self.batches + self._answers
        return done / whole if whole else 0.0

    def left(self) -> float | None:
        """Seconds for the rest of this epoch and all later epochs; None before the first batch is done.

        During the first epoch the estimate counts training and validation batches only. Until the first validation, a
        validation batch is assumed to take a third of a training batch: the forward pass without the backward pass,
        which costs twice as much.
        """
        if self._epoch_seconds:
            spent = min(time.monotonic() - self._began, self._epoch_seconds)
            return max((self.epochs - self.finished) * self._epoch_seconds - spent, 0.0)
        done = self.batches
        if not done:
            return None
        step = self._step_seconds / (done - 1) if done > 1 else self._first
        validation = self._validation or step / 3
        epoch = self.train * step + self.val * validation
        rest = (self.train - done) * step + (self.val - self._answers) * validation
        return max(rest, 0.0) + max(self.epochs - 1, 0) * epoch

    def _lap(self) -> float:
        before, self.mark = self.mark, time.monotonic()
        return self.mark - before


def _loss_of(outputs: Any) -> Tensor | None:
    """The loss that a training step returned, by itself or in a mapping."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return found if isinstance(found, Tensor) and found.numel() == 1 else None


def _count(batches: float) -> int:
    """A number of batches; 0 if the loader has no length (Lightning's infinity)."""
    return int(batches) if batches != float("inf") else 0


def _listed(batches: Any) -> list[float]:
    return list(batches) if isinstance(batches, Iterable) else [batches]
