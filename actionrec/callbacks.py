"""Callbacks of our own."""

import logging
import time
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torchvision.utils import make_grid

from actionrec.flow.visualize import stack_colours

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


class InputPictures(Callback):
    """The first training batch as the network sees it, for TensorBoard: frames, and flow as colours.

    Args:
        samples: of the batch.
    """

    def __init__(self, samples: int = 16):
        self.samples = samples

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step or not isinstance(trainer.logger, TensorBoardLogger):
            return
        for modality in ("frame", "flow"):
            if modality in batch and batch[modality].dim() == 4:  # not features
                pictures = batch[modality][: self.samples].cpu()
                if modality == "flow":
                    pictures = self._colours(pictures, trainer.datamodule.inputs)  # type: ignore[attr-defined]
                trainer.logger.experiment.add_image(f"train/{modality}", make_grid(pictures, nrow=4))

    @staticmethod
    def _colours(stacks: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        colours = [stack_colours(stack, inputs["representation"], inputs["flow"]["bound"]) for stack in stacks.numpy()]
        return torch.from_numpy(np.stack(colours)).permute(0, 3, 1, 2)
