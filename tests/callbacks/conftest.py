"""A network whose answers are known, and trainings of it that write for TensorBoard."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from actionrec.callbacks.tensorboard import TensorBoard
from actionrec.datamodules.base import collate
from actionrec.modules.base import ActionModule
from actionrec.networks.backbone import Backbone
from actionrec.networks.stream import Stream
from actionrec.networks.streams import MultiStream
from actionrec.streams import Flow, Frame

ACTIONS = ("clap", "wave", "run")
FRAME = {"frame": Frame().settings()}
INPUTS = {"size": 16, "streams": {**FRAME, "flow": Flow("dis").settings()}}
STILL = {"_target_": "torch.optim.SGD", "lr": 0.0}


def stream(channels: int) -> Stream:
    """Answers with that of the first three channels which is the largest on average."""
    convolution = nn.Conv2d(channels, 3, 1, bias=False)
    convolution.weight.data = torch.eye(channels)[:3].view(3, channels, 1, 1)
    layers = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = Stream(Backbone(layers, 3), 3, (0.0,), (25.5,))
    found.head.weight.data, found.head.bias.data = torch.eye(3), torch.zeros(3)
    return found


class FrameAnswers(ActionModule):
    def __init__(self, optimizer=STILL, scheduler=None):
        super().__init__(stream(3), ACTIONS, {"size": 16, "streams": FRAME}, optimizer, scheduler, 0.0)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.network(batch["frame"])


class PairAnswers(ActionModule):
    def __init__(self, fusion="concat"):
        network = MultiStream({"frame": stream(3), "flow": stream(8)}, 3, fusion)
        super().__init__(network, ACTIONS, INPUTS, STILL, None, 0.0)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.network(batch["frame"], batch["flow"])


class Samples(Dataset):
    """Samples of given labels that the networks above answer as given; the first are the surest.

    A bright square in the upper left corner is all that speaks for the answer.
    """

    def __init__(self, labels: list[int], answers: list[int], modalities=("frame",), features=False):
        self.labels, self.answers, self.modalities, self.features = labels, answers, modalities, features

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        sample = {"label": self.labels[index], "name": f"clip_{index}"}
        torch.rand(())  # as real samples, it draws
        for modality in self.modalities:
            pixels = torch.zeros(3 if modality == "frame" else 8, 16, 16, dtype=torch.uint8)
            pixels[self.answers[index], :8, :8] = 250 - 10 * index
            sample[modality] = pixels.float().mean((1, 2))[:3] if self.features else pixels
        return sample


@pytest.fixture
def fit(tmp_path) -> Callable[..., Path]:
    """Train a module under callbacks; returns the folder of its events."""

    def fit_with(
        module: LightningModule,
        train: Dataset,
        val: Dataset,
        callbacks: list[Callback],
        epochs=1,
        logger=True,
        ckpt_path=None,
        **options,
    ) -> Path:
        loggers = TensorBoard(tmp_path, name="", version="tensorboard", default_hp_metric=False) if logger else False
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=loggers,
            callbacks=callbacks,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),
            **options,
        )
        loaders = [DataLoader(part, batch_size=3, collate_fn=collate) for part in (train, val)]
        trainer.fit(module, *loaders, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return tmp_path / "tensorboard"

    return fit_with


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def image(found: EventAccumulator, tag: str) -> np.ndarray:
    """The last picture under a tag."""
    return np.asarray(Image.open(io.BytesIO(found.Images(tag)[-1].encoded_image_string)))
