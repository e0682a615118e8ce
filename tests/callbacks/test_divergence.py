import math

import pytest
import torch

from actionrec.callbacks import Divergence
from actionrec.callbacks.best import BestCheckpoint, LastCheckpoint
from actionrec.system.errors import ActionRecError
from tests.callbacks.conftest import FrameAnswers, Samples

SAMPLES = Samples([0, 1, 2] * 3, [0, 2, 1] * 3)  # three batches an epoch


class Diverges(FrameAnswers):
    """The loss of one batch, or of one validation, is not finite; with it go the weights."""

    def __init__(self, epoch=1, batch=1, value=math.nan, part="train"):
        super().__init__()
        self.at, self.value = (part, epoch, batch), value
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append(list(batch["name"]))
        loss = super().training_step(batch, index)
        return loss * self.value if self.at == ("train", self.current_epoch, index) else loss

    def validation_step(self, batch, index):
        logits = super().validation_step(batch, index)
        if self.at[:2] == ("val", self.current_epoch):
            self.val_loss.update(torch.tensor(self.value))
        return logits


class Event:
    """A copy from a device, which arrives when it is waited for and not before."""

    def query(self):
        return False

    def synchronize(self):
        pass


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_batch_is_named_and_nothing_of_the_epoch_is_kept(tmp_path, fit, value):
    module = Diverges(value=value)
    callbacks = [BestCheckpoint(str(tmp_path)), LastCheckpoint(str(tmp_path)), Divergence()]
    with pytest.raises(ActionRecError) as error:
        fit(module, SAMPLES, SAMPLES, callbacks, epochs=3, logger=False)
    said = str(error.value)
    assert said.startswith(f"epoch 2, batch 2: the training loss is {value} (samples {', '.join(module.seen[-1])}); ")
    assert "lower optimizer.lr" in said
    assert "\n" not in said
    for name in ("best", "last"):
        assert torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["epoch"] == 0


def test_a_loss_that_comes_late_from_the_device_is_that_of_its_own_batch(tmp_path, fit, monkeypatch):
    """As on a GPU that lags a whole epoch behind; still before validation, after which weights are kept."""
    monkeypatch.setattr("actionrec.callbacks.divergence._to_host", lambda value: (value, Event()))
    module = Diverges(epoch=0, batch=1)
    with pytest.raises(ActionRecError, match="epoch 1, batch 2: ") as error:
        fit(module, SAMPLES, SAMPLES, [Divergence(), BestCheckpoint(str(tmp_path))], logger=False)
    assert ", ".join(module.seen[1]) in str(error.value)
    assert len(module.seen) == 3
    assert list(tmp_path.iterdir()) == []


def test_of_the_very_first_batch_the_rate_is_not_to_blame(fit):
    with pytest.raises(ActionRecError, match=r"epoch 1, batch 1: .* weights of init_from"):
        fit(Diverges(0, 0), SAMPLES, SAMPLES, [Divergence()], logger=False)


def test_weights_that_the_last_step_has_broken_are_found_by_validation(tmp_path, fit):
    with pytest.raises(ActionRecError, match=r"epoch 1: the validation loss is nan; lower optimizer\.lr"):
        fit(Diverges(0, part="val"), SAMPLES, SAMPLES, [Divergence(), BestCheckpoint(str(tmp_path))], logger=False)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_does_well_is_left_alone(fit):
    fit(FrameAnswers(), SAMPLES, SAMPLES, [Divergence()], epochs=2, logger=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_no_step_waits():
    """CUDA itself raises where the host would wait."""
    from actionrec.callbacks.divergence import _to_host

    value = torch.full((), math.nan, device="cuda")
    _to_host(value)
    torch.cuda.set_sync_debug_mode("error")
    try:
        host, copied = _to_host(value)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    copied.synchronize()
    assert math.isnan(float(host))
