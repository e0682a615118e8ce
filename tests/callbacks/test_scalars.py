from types import SimpleNamespace

import pytest
import torch
from lightning import Callback
from torch import nn

from actionrec.callbacks import LogLearningRate, LogThroughput, scalars
from tests.callbacks.conftest import FrameAnswers, Samples, events

ONE_CYCLE = {"_target_": "actionrec.modules.schedules.onecycle", "pct_start": 0.3}
SAMPLES = Samples([0, 1, 2] * 3, [0, 1, 2] * 3)


class Rates(Callback):
    """The rate of every step, asked of the scheduler."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0])


def test_the_rate_shown_is_the_schedulers(fit):
    rates = Rates()
    module = FrameAnswers({"_target_": "torch.optim.SGD", "lr": 0.1}, ONE_CYCLE)
    shown = events(fit(module, SAMPLES, SAMPLES, [LogLearningRate(), rates], epochs=2)).Scalars("lr/rate")
    assert [each.step for each in shown] == list(range(6))
    assert [each.value for each in shown] == pytest.approx(rates.seen)
    assert len(set(rates.seen)) > 3


def test_groups_of_parameters_have_a_rate_each():
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)]
    assert scalars.rates(torch.optim.SGD(groups)) == {"lr/0": 0.1, "lr/1": 0.2}
    groups[1]["name"] = "head"
    assert scalars.rates(torch.optim.SGD(groups)) == {"lr/0": 0.1, "lr/head": 0.2}


def test_speed_is_of_work_and_waiting(fit, monkeypatch):
    """By a clock that a sample advances by one second, a step by five and a validation step by a hundred."""
    now = [0.0]
    monkeypatch.setattr(scalars, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Slow(Samples):
        def __getitem__(self, index):
            now[0] += 1
            return super().__getitem__(index)

    class Busy(FrameAnswers):
        def training_step(self, batch, index):
            now[0] += 5
            return super().training_step(batch, index)

        def validation_step(self, batch, index):
            now[0] += 100
            return super().validation_step(batch, index)

    found = events(fit(Busy(), Slow([0, 1, 2] * 3, [0] * 9), Samples([0], [0]), [LogThroughput()], epochs=2))
    for epoch in range(2):
        assert found.Scalars("speed/samples_per_second")[epoch].value == pytest.approx(9 / 24)
        assert found.Scalars("speed/waiting_for_data")[epoch].value == pytest.approx(9 / 24)
        assert found.Scalars("speed/epoch_seconds")[epoch].value == pytest.approx(124)
