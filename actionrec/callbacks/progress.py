"""What a run tells of its training that would be lost with the process."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Progress(Callback):
    """Metrics of the last epoch's training, and the time that training has taken in all its sessions.

    Both are kept in `last.ckpt`. Time that a session spent after its last whole epoch made nothing that was kept, and
    does not count.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self._before = 0.0
        self._began = time.perf_counter()
        self._ended: float | None = None

    @classmethod
    def of(cls, trainer: Trainer) -> "Progress":
        """The trainer's; one that knows nothing where it has none."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return next((each for each in callbacks if isinstance(each, cls)), cls())

    @property
    def seconds(self) -> float:
        """Seconds from the making of the trainer to the end of its training, and those of the sessions before."""
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
