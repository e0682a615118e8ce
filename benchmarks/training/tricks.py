"""The gain by each trick of the step: the step with all of them, against the step without one."""

import argparse
import time
from typing import Any

import torch
import torchvision
from torch.nn import functional as F

from actionrec.system.hardware import disable_malloc_trim, fast_precision
from benchmarks.common import fresh, median

ROUNDS = 3
STEPS = 6
BATCH = 32
TRICKS = ("freed memory kept", "bf16", "channels_last", "fused optimiser")


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Samples/s of ResNet-18's step at 224 px; `tricks/<name>` is with all of them against without it.

    `tricks/compile` is against the same without compiling.
    """
    rows = []
    for _ in range(ROUNDS):
        row = {"all": fresh(_rate, (), False)}
        row |= {f"without {trick}": fresh(_rate, (trick,), False) for trick in TRICKS}
        rows.append(row | {"all, compiled": fresh(_rate, (), True)})
    figures = {f"tricks/{trick}": median([row["all"] / row[f"without {trick}"] for row in rows]) for trick in TRICKS}
    return figures | {"tricks/compile": median([row["all, compiled"] / row["all"] for row in rows])}, rows


def _rate(left_out: tuple[str, ...], compiled: bool) -> float:
    if "freed memory kept" not in left_out:
        disable_malloc_trim()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.contiguous_format if "channels_last" in left_out else torch.channels_last
    network = torchvision.models.resnet18(num_classes=12).to(device, memory_format=layout)
    images = torch.randn(BATCH, 3, 224, 224, device=device).contiguous(memory_format=layout)
    labels = torch.arange(BATCH, device=device) % 12
    optimizer = torch.optim.AdamW(network.parameters(), fused="fused optimiser" not in left_out)
    bf16 = fast_precision("auto") == "bf16-mixed" and "bf16" not in left_out
    if compiled:
        network.compile()

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for a GPU

    for _ in range(3):
        step()
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return STEPS * BATCH / (time.perf_counter() - began)
