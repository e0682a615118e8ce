"""Time that networks take for a sample, measured in turns in one process."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

ROUNDS = 9  # at most; fewer where they take longer than `LONGEST`
LONGEST = 20.0  # seconds for a batch size
BATCHES = (1, 16)


class Speed(NamedTuple):
    """Median milliseconds a sample, of single samples and of batches of 16."""

    single: float
    batched: float


def measure(
    networks: Mapping[str, Callable[[dict[str, Tensor]], Tensor]], samples: Mapping[str, Tensor]
) -> dict[str, Speed]:
    """Measure networks on the same samples, in turns, so that other load on the machine slows all of them.

    Args:
        networks: batch → logits, by name.
        samples: (N, *shape) uint8 for each stream, by name.
    """
    found: dict[str, list[float]] = {name: [] for name in networks}
    for size in BATCHES:
        batch = {name: each[[index % len(each) for index in range(size)]] for name, each in samples.items()}
        times: dict[str, list[float]] = {name: [] for name in networks}
        for network in networks.values():
            network(batch)  # kernels are chosen, and memory is reserved, at the first call
        begun = time.perf_counter()
        for _ in range(ROUNDS):
            for name, network in networks.items():
                start = time.perf_counter()
                network(batch)
                times[name].append(time.perf_counter() - start)
            if time.perf_counter() - begun > LONGEST:
                break
        for name, each in times.items():
            found[name].append(1000 * statistics.median(each) / size)
    return {name: Speed(*each) for name, each in found.items()}
