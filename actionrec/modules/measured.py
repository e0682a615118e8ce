"""Base of all modules whose scores a test collects: networks of torch, and exported networks."""

from itertools import chain
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor


class Measured(LightningModule):
    """A classifier of batches whose test keeps the logits of all views."""

    actions: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        self._test_outputs: list[tuple[list[str], Tensor, Tensor]] = []

    def on_test_epoch_start(self) -> None:
        self._test_outputs = []

    def test_step(self, batch: dict[str, Any], index: int) -> None:
        self._test_outputs.append((batch["name"], self(batch).float().cpu(), batch["label"].cpu()))

    def test_outputs(self) -> tuple[list[str], Tensor, Tensor]:
        """Names, logits (V, K) float32 and labels (V,) of all V views of the last test, on the CPU."""
        names, logits, labels = zip(*self._test_outputs, strict=True)
        return list(chain(*names)), torch.cat(logits), torch.cat(labels)
