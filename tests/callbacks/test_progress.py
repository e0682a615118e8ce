from types import SimpleNamespace

import pytest
from lightning import Callback

from actionrec.callbacks import LastCheckpoint, Progress, progress
from tests.callbacks.conftest import FrameAnswers, Samples

SAMPLES = Samples([0, 1, 2], [0, 2, 2])


class Clock(Callback):
    """An epoch takes ten seconds; the process ends in that of `killed`."""

    def __init__(self, now, killed=None):
        self.now, self.killed = now, killed

    def on_train_epoch_start(self, trainer, pl_module):
        self.now[0] += 10
        if trainer.current_epoch == self.killed:
            raise RuntimeError("power")


@pytest.mark.parametrize("killed", [1, 2, None])
def test_time_sums_over_sessions_and_metrics_outlive_them(tmp_path, fit, monkeypatch, killed):
    """Also where nothing was left to train, since the process was killed while it measured."""
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    first = [Progress(), Clock(now, killed), LastCheckpoint(str(tmp_path))]
    if killed:
        with pytest.raises(RuntimeError, match="power"):
            fit(FrameAnswers(), SAMPLES, SAMPLES, first, epochs=3, logger=False)
    else:
        fit(FrameAnswers(), SAMPLES, SAMPLES, first, epochs=3, logger=False)
    now[0] += 1000  # between the sessions, and within them after the training
    again = [Progress(), Clock(now), LastCheckpoint(str(tmp_path))]
    fit(FrameAnswers(), SAMPLES, SAMPLES, again, epochs=3, logger=False, ckpt_path=tmp_path / "last.ckpt")
    now[0] += 1000
    assert again[0].seconds == pytest.approx(30)
    assert again[0].metrics == {
        "train/loss": pytest.approx(first[0].metrics["train/loss"]),
        "train/acc": pytest.approx(2 / 3),
    }


def test_a_trainer_without_it_knows_nothing():
    assert Progress.of(SimpleNamespace(callbacks=[Clock([0])])).metrics == {}
    found = Progress()
    assert Progress.of(SimpleNamespace(callbacks=[Clock([0]), found])) is found
