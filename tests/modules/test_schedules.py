import pytest
import torch

from actionrec.modules import schedules


def rates(schedule, steps: int = 40, **options) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = schedule(optimizer, total_steps=steps, steps_per_epoch=10, **options)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_cosine_falls_to_nothing():
    seen = rates(schedules.cosine)
    assert seen[0] == pytest.approx(0.1)
    assert seen[20] == pytest.approx(0.05)
    assert seen == sorted(seen, reverse=True)


def test_onecycle_peaks_at_the_optimisers_rate():
    seen = rates(schedules.onecycle)
    assert max(seen) == pytest.approx(0.1)
    assert 10 <= seen.index(max(seen)) <= 13
    assert seen[-1] < 1e-4


def test_cyclic_halves_each_triangle():
    seen = rates(schedules.cyclic, base=0.01, epochs_per_cycle=1)
    peaks = [max(seen[start : start + 10]) for start in (0, 10, 20)]
    assert (peaks[0], min(seen)) == pytest.approx((0.1, 0.001))
    assert peaks[1] - 0.001 == pytest.approx((peaks[0] - 0.001) / 2)
    assert peaks[2] - 0.001 == pytest.approx((peaks[0] - 0.001) / 4)
