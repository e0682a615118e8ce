"""The step of a network with depthwise convolutions: torch's own gradients against those of `networks.depthwise`."""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from actionrec.modules.held import first_layers
from actionrec.networks import backbone
from actionrec.networks.depthwise import use_fast_gradients
from actionrec.system.hardware import disable_malloc_trim, fast_precision
from benchmarks.common import fresh, median, seconds

ROUNDS = 7
BATCH = 32
SIDES = (112, 224)


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Samples/s of EfficientNet-Lite0's step in `trainer.precision=auto`; `depthwise/<side>` is fast against own.

    The networks take turns. `depthwise/<side>/float32` is the fast step against torch's own in float32,
    `depthwise/<side>/fixed` the fast step with the first half of the layers fixed against that without.
    """
    rows = [row | {"side": side} for side in SIDES for row in fresh(_rates, side)]
    figures: dict[str, float] = {}
    for side in SIDES:
        own, float32, fixed = (
            [row[one] / row[other] for row in rows if row["side"] == side]
            for one, other in (("fast", "own"), ("fast", "float32"), ("fixed", "fast"))
        )
        figures |= {f"depthwise/{side}": median(own), f"depthwise/{side}/float32": median(float32)}
        figures[f"depthwise/{side}/fixed"] = median(fixed)
    return figures, rows


def _rates(side: int) -> list[dict[str, float]]:
    disable_malloc_trim()
    torch.manual_seed(0)
    network = backbone.create("efficientnet_lite0", None).to(memory_format=torch.channels_last).train()
    images = torch.randn(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    fast = copy.deepcopy(network)
    use_fast_gradients(fast)
    fixed = copy.deepcopy(fast)
    for layer in first_layers(fixed, 0.5):
        layer.requires_grad_(False).eval()
    bf16 = fast_precision("cpu") == "bf16-mixed"
    steps = {
        "own": _step(copy.deepcopy(network), images, bf16),
        "fast": _step(fast, images, bf16),
        "fixed": _step(fixed, images, bf16),
        "float32": _step(network, images, False),
    }
    for step in steps.values():
        step()
    return [{name: BATCH / seconds(step) for name, step in steps.items()} for _ in range(ROUNDS)]


def _step(network: nn.Module, images: Tensor, bf16: bool) -> Callable[[], None]:
    return partial(_run, network, torch.optim.AdamW(network.parameters(), fused=True), images, bf16)


def _run(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, bf16: bool) -> None:
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = network(images).float().square().mean()
    loss.backward()
    optimizer.step()
