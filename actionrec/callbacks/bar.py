"""The bar of a training and of a measurement, on the terminal's last line."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from actionrec.system import gauges, terminal

READ = 0.5  # seconds between two looks at the loss, for which a GPU is waited for
MEMORY = 0.9  # of the running loss, from one look to the next
LONG = 2.0  # seconds at one thing after which the bar counts them, so that nobody takes a compiler for a hang


class ProgressBar(Callback):
    """Epoch, running loss, last validation accuracy, training samples a second, and time left for all epochs.

    The time left counts the training batches, the validations, and whatever else an epoch has been found to take.
    Where the terminal has no last line (see `system.terminal`), the same words are logged after half a minute without
    a line.
    """

    def __init__(self) -> None:
        self.part = ""  # what a measurement measures
        self.clock = Clock()
        self._loss: float | None = None
        self._accuracy: float | None = None
        self._samples, self._read = 0, 0.0
        self._doing = ""
        self._epoch = self._epochs = 0
        self._shown: AbstractContextManager[None] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._leave()  # of a training before this one that failed

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
    """How far a training is, and how long its rest takes, by what its batches and epochs took so far.

    Args:
        epochs: to be trained from now on.
        train: batches of an epoch.
        val: batches of the validation that follows an epoch.
    """

    def __init__(self, epochs: int = 0, train: int = 0, val: int = 0):
        self.epochs, self.train, self.val = epochs, train, val
        self.finished = 0  # epochs
        self.batches = self._answers = 0  # done of this epoch
        self.mark = time.monotonic()  # when the last batch was done, or the epoch began
        self._began = self.mark  # this epoch, or after it what is between it and the next
        self._epoch_seconds = 0.0  # of the last whole epoch, with all that callbacks do in it
        self._step_seconds = 0.0  # of the batches after the first one, which waits for loaders and compilers
        self._first = 0.0
        self._validation = 0.0  # seconds of a validation batch

    def begin(self) -> None:
        """An epoch begins."""
        now = time.monotonic()
        if self.finished:
            self._epoch_seconds += now - self._began  # for checkpoints, which are written after `end`
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
        if not self.finished and self.batches > 1:  # the first batch of all waited for a compiler
            once = max(self._first - self._step_seconds / (self.batches - 1), 0.0)
        self._epoch_seconds = now - self._began - once
        self._began = now
        self.finished += 1
        self.batches = self._answers = 0

    def rate(self, samples: int) -> float:
        """Of the samples that this epoch has trained on so far, how many a second; 0 where that is not known."""
        done = self.batches  # once, since the terminal's thread asks while the training counts
        seconds, timed = (self._step_seconds, done - 1) if done > 1 else (self._first, done)
        return samples * timed / done / seconds if done and seconds else 0.0

    def fraction(self) -> float:
        """Share of all batches that is done."""
        whole = self.epochs * (self.train + self.val)
        done = self.finished * (self.train + self.val) + self.batches + self._answers
        return done / whole if whole else 0.0

    def left(self) -> float | None:
        """Seconds for the rest of this epoch and the epochs after it; None until there is something to go by.

        Before the first epoch is over, an epoch is taken to be its training batches and a validation whose batches
        take a third of theirs: the forward pass, without the two halves of the backward pass.
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
    """A number of batches; 0 where a loader does not know it (Lightning's infinity)."""
    return int(batches) if batches != float("inf") else 0


def _listed(batches: Any) -> list[float]:
    return list(batches) if isinstance(batches, Iterable) else [batches]
