"""Training metrics and training time that survive an interruption."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Progress(Callback):
    """Training metrics of the last epoch, and the training time summed over all processes of a resumed training.

    `last.ckpt` keeps both. Time after the last complete epoch of an interrupted process does not count, since the
    resumed training repeats that work.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self._before = 0.0
        self._began = time.perf_counter()
        self._ended: float | None = None

    @classmethod
    def of(cls, trainer: Trainer) -> "Progress":
        """The trainer's `Progress`, or a fresh one if the trainer has none."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return next((each for each in callbacks if isinstance(each, cls)), cls())

    @property
    def seconds(self) -> float:
        """Seconds from the creation of the trainer to the end of its training, plus those of earlier processes."""
        return self._before + (self._ended or time.perf_counter()) - self._began

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.metrics = {tag: float(value) for tag, value in metrics.items() if tag.startswith("train/")}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.metrics, self._before = dict(state_dict["metrics"]), float(state_dict["seconds"])
