"""Learning-rate schedules that step after every batch; the optimiser's learning rate is the peak."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LRScheduler, OneCycleLR


def cosine(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LRScheduler:
    """Half a cosine from the optimiser's learning rate down to zero (Loshchilov & Hutter, ICLR 2017)."""
    return CosineAnnealingLR(optimizer, T_max=total_steps)


def onecycle(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, pct_start: float = 0.3) -> LRScheduler:
    """One cycle: warm-up to the optimiser's learning rate, then annealing to nearly zero (Smith & Topin, 2018)."""
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=pct_start,
    )


def cyclic(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    base: float,
    epochs_per_cycle: float,
) -> LRScheduler:
    """Triangular cycles up to the optimiser's learning rate; each cycle halves the amplitude of the previous one.

    This is the `triangular2` policy of Smith (WACV 2017).

    Args:
        base: lowest learning rate, as a fraction of the optimiser's learning rate.
    """
    half = max(1, round(steps_per_epoch * epochs_per_cycle / 2))
    momentum = "momentum" in optimizer.defaults
    peaks = [group["lr"] for group in optimizer.param_groups]
    lowest = [base * peak for peak in peaks]
    return CyclicLR(optimizer, lowest, peaks, step_size_up=half, mode="triangular2", cycle_momentum=momentum)
