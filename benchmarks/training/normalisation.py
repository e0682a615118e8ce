"""The worth of the right normalisation: a small ViT, without a norm behind its stem, with its own constants or not."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actionrec.modules.streams import create_stream
from actionrec.networks.backbone import create
from actionrec.streams import Frame
from benchmarks.common import median

NETWORK, SIDE = "timm:test_vit", 160  # by its configuration in timm trained with 0.5/0.5
ANGLES, PERIODS = 4, (8, 16)  # of the gratings; both together are what it is pretrained on
PRETRAINING, BATCH = 192, 32  # steps, and pictures in each
POOL, LEARNT, TESTED = 1024, 160, 400  # pictures of the pretraining, and of the transfer, where only the angle counts
EPOCHS = 3
SEEDS = 3
CONSTANTS: dict[str, dict[str, list[float]]] = {
    "its own, 0.5/0.5": {},
    "ImageNet's": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Test loss and accuracy of a frozen and of a fine-tuned ViT that reads its weights from a file, by constants."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        pretrained = _pretrain(weights)
        for frozen in (True, False):
            for seed in range(SEEDS):
                for name, constants in CONSTANTS.items():
                    loss, accuracy = _transfer(weights, constants, frozen, seed)
                    kind = "frozen" if frozen else "fine-tuned"
                    rows.append(
                        {"ViT": kind, "seed": seed, "constants": name, "test loss": loss, "test top-1": accuracy}
                    )
    figures = {"normalisation/pretrained_acc": round(pretrained, 3)}
    for kind in ("frozen", "fine-tuned"):
        for name, key in zip(CONSTANTS, ("own", "imagenet"), strict=True):
            chosen = [row for row in rows if (row["ViT"], row["constants"]) == (kind, name)]
            figures[f"normalisation/{kind}_{key}_acc"] = median([row["test top-1"] for row in chosen])
            figures[f"normalisation/{kind}_{key}_loss"] = median([row["test loss"] for row in chosen])
    return figures, rows


def gratings(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coloured noisy gratings (count, 3, SIDE, SIDE) uint8, and the numbers of their angles and periods."""
    rng = np.random.default_rng(seed)
    angles, periods = rng.integers(0, ANGLES, count), rng.integers(0, len(PERIODS), count)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    turned = np.pi * (angles + rng.uniform(-0.2, 0.2, count)) / ANGLES
    along = np.cos(turned)[:, None, None] * x + np.sin(turned)[:, None, None] * y
    waves = np.sin(2 * np.pi * along / np.take(PERIODS, periods)[:, None, None] + rng.uniform(0, 6.3, (count, 1, 1)))
    tints = rng.uniform(-0.6, 0.6, (count, 3, 1, 1)) * waves[:, None] + rng.uniform(0.2, 0.8, (count, 3, 1, 1))
    noisy = tints + 0.15 * rng.standard_normal(tints.shape, np.float32)
    pictures = torch.from_numpy((255 * noisy.clip(0, 1)).astype(np.uint8))
    return pictures, torch.from_numpy(angles), torch.from_numpy(periods)


def _pretrain(file: Path) -> float:
    """Train the network with its own constants and write its state dict; returns the accuracy on fresh pictures."""
    torch.manual_seed(0)
    backbone = create(NETWORK, None)  # for its constants
    network = _whole()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, PRETRAINING)
    pictures, angles, periods = gratings(POOL, 0)
    labels = angles * len(PERIODS) + periods
    for _ in range(PRETRAINING):
        batch = torch.randint(POOL, (BATCH,))
        loss = F.cross_entropy(network((pictures[batch] - mean) / std), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.save(network.state_dict(), file)
    pictures, angles, periods = gratings(TESTED, 1)
    with torch.no_grad():
        answers = network.eval()((pictures - mean) / std).argmax(1)
    return float((answers == angles * len(PERIODS) + periods).float().mean())


def _whole() -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(NETWORK.removeprefix("timm:"))
    return network


def _transfer(weights: Path, constants: dict[str, list[float]], frozen: bool, seed: int) -> tuple[float, float]:
    """Loss and accuracy on the test after training a fresh head, or all, on the angles of a few pictures."""
    torch.manual_seed(seed)
    settings = {"name": NETWORK, "weights": str(weights), **constants}
    network = create_stream(Frame(), settings, ANGLES, 0.0, SIDE)
    network.backbone.requires_grad_(not frozen)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2 if frozen else 5e-4)
    pictures, angles, _ = gratings(LEARNT, 100 + seed)
    for _ in range(EPOCHS):
        for batch in torch.randperm(LEARNT).split(BATCH):
            loss = F.cross_entropy(network(pictures[batch]), angles[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    pictures, angles, _ = gratings(TESTED, 10)
    with torch.no_grad():
        logits = network.eval()(pictures)
    return float(F.cross_entropy(logits, angles)), float((logits.argmax(1) == angles).float().mean())
