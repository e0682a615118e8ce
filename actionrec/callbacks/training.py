"""The first training batch in TensorBoard."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from actionrec.callbacks.pictures import grid, sample_pictures, tile
from actionrec.callbacks.tensorboard import writer_of


class LogFirstBatch(Callback):
    """Logs the first training batch after augmentation: a tile per sample with the pictures of all its streams.

    Args:
        samples: largest number of samples to show.
    """

    def __init__(self, samples: int = 12):
        self.samples = samples

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        writer = writer_of(trainer)
        if not writer or batch_idx or trainer.current_epoch:
            return
        tiles = []
        for row in range(min(self.samples, len(batch["label"]))):
            sample = {key: values[row] for key, values in batch.items()}
            if pictures := sample_pictures(sample, pl_module.inputs):  # type: ignore[arg-type]
                action = pl_module.actions[int(sample["label"])]  # type: ignore[index]
                tiles.append(tile(list(pictures.values()), [str(action), sample["name"]]))
        if tiles:
            writer.add_image("train/batch", grid(tiles), trainer.global_step, dataformats="HWC")
