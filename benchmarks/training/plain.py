"""Against a user's own loop: PIL images, `ToTensor`, float32 NCHW, two loader processes, a plain loop."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from actionrec.datasets import stanford40
from actionrec.datasets.records import Still
from actionrec.streams.transforms import STILL_PRESETS
from benchmarks.common import fresh, median
from benchmarks.training.stages import STEPS, Watch, compose_stage, train

ROUNDS = 3
EPOCHS = 3  # short ones; the first warms up
BATCH = 32


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Samples/s of stage 1 on real stills, `auto` and `float32`, and of the plain loop in float32; they take turns."""
    rows = []
    for _ in range(ROUNDS):
        plain = fresh(_plain_rate, options.data)
        auto = fresh(_stage_rate, options.data, "auto")
        float32 = fresh(_stage_rate, options.data, "32-true")
        rows.append({"plain samples/s": plain, "auto samples/s": auto, "float32 samples/s": float32})
    ratios = {
        f"vs_plain/{side}": median([row[f"{side} samples/s"] / row["plain samples/s"] for row in rows])
        for side in ("auto", "float32")
    }
    return ratios, rows


class PlainStills(Dataset[tuple[torch.Tensor, int]]):
    """Stills the usual way, with the augmentation of `strong`."""

    def __init__(self, stills: Sequence[Still], actions: Sequence[str], size: int):
        strong = STILL_PRESETS["strong"]
        self.stills = stills
        self.actions = list(actions)
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, strong.scale, strong.ratio),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(strong.jitter, strong.jitter, strong.jitter),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return len(self.stills)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        still = self.stills[index]
        with Image.open(still.path) as image:
            return self.transform(image.convert("RGB")), self.actions.index(still.action)


def plain_loader(
    data: Path, workers: int, actions: str = "shared", batch: int = BATCH
) -> DataLoader[tuple[torch.Tensor, int]]:
    """Stage 1's training images, as `ImageFolder` and its transforms would give them."""
    names, splits = stanford40.index(data / "stanford40", actions)
    stills = PlainStills(splits.train, names, size=224)
    return DataLoader(stills, batch, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True)


def _plain_rate(data: Path) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torchvision.models.resnet18(num_classes=12).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4)
    loader = plain_loader(data, workers=2)
    rates = []
    for _ in range(EPOCHS):
        began, correct = time.perf_counter(), 0.0
        for step, (images, labels) in enumerate(loader, start=1):
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = network(images)
            F.cross_entropy(logits, labels, label_smoothing=0.1).backward()
            optimizer.step()
            correct += (logits.argmax(1) == labels).float().mean().item()
            if step == STEPS:
                break
        rates.append(STEPS * BATCH / (time.perf_counter() - began))
    return median(rates[1:])


def _stage_rate(data: Path, precision: str) -> float:
    config = compose_stage(data, "frame", f"trainer.precision={precision}", f"data.batch_size={BATCH}")
    watch, _ = train(config, lambda batch: Watch(), EPOCHS)
    return median([STEPS * BATCH / seconds for seconds in watch.stage[1:]])
