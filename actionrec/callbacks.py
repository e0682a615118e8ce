"""Callbacks of our own."""

import logging
import time

from lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class EpochLine(Callback):
    """One line an epoch: what a log file keeps of the progress bar."""

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
