"""Callbacks of Lightning that look for attributes of a module: the learning rate and the backbone."""

import logging

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import BackboneFinetuning, LearningRateFinder
from torch.utils.data import ConcatDataset

from actionrec.callbacks.best import BestCheckpoint, LastCheckpoint
from actionrec.system.errors import ActionRecError
from tests.callbacks.conftest import FrameAnswers, PairAnswers, Samples

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.05}
COSINE = {"_target_": "actionrec.modules.schedules.cosine"}
FEW = Samples([0, 1, 2], [0, 2, 1])
MANY = ConcatDataset([FEW] * 20)  # as many batches as the finder takes steps


class Seen(Callback):
    """Learning rates and training metrics of the training proper."""

    def __init__(self):
        self.rates, self.counted, self.backbones = [], 0, []

    def on_train_start(self, trainer, pl_module):
        self.counted = int(pl_module.train_metrics["acc"].tp.sum() + pl_module.train_metrics["acc"].fn.sum())

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_epoch_end(self, trainer, pl_module):
        self.backbones.append([parameter.clone() for parameter in pl_module.backbone.parameters()])


def finder(**options) -> LearningRateFinder:
    return LearningRateFinder(min_lr=1e-4, max_lr=0.1, num_training_steps=20, early_stop_threshold=None, **options)


def test_the_learning_rate_found_reaches_each_group_and_the_schedule(fit, tmp_path, caplog):
    module, seen, found = FrameAnswers(ADAM, COSINE), Seen(), finder()
    module.factors["head_lr_factor"] = 10.0
    with caplog.at_level(logging.WARNING):
        fit(module, MANY, MANY, [found, seen, BestCheckpoint(str(tmp_path))], epochs=2, logger=False)
    rate = found.optimal_lr.suggestion()
    assert rate != pytest.approx(ADAM["lr"])
    assert module.lr == rate
    assert seen.rates[0] == pytest.approx([rate, 10 * rate])
    assert seen.rates[20] == pytest.approx([rate / 2, 5 * rate])  # at half of the cosine
    assert seen.counted == 0  # the metrics do not count the finder's batches
    assert "best.ckpt" not in caplog.text


def test_a_finder_that_only_looks_changes_no_learning_rate(fit):
    module, seen = FrameAnswers(ADAM), Seen()
    fit(module, MANY, MANY, [finder(update_attr=False), seen], logger=False)
    assert seen.rates[0] == [ADAM["lr"]]


@pytest.mark.parametrize("create", [lambda: FrameAnswers(ADAM), lambda: PairAnswers("concat")])
def test_a_backbone_is_frozen_until_its_epoch(fit, create):
    module, seen = create(), Seen()
    module.optimizer = ADAM
    samples = Samples([0, 1, 2], [0, 2, 1], tuple(module.streams))
    fit(module, samples, samples, [BackboneFinetuning(unfreeze_backbone_at_epoch=1), seen], epochs=2, logger=False)
    first, second = seen.backbones
    assert len(first) == len(module.streams)
    assert all(torch.equal(weight.flatten(1), torch.eye(weight.shape[1])[:3]) for weight in first)
    assert not any(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_a_finetuning_resumes_after_its_backbone_was_added(fit, tmp_path):
    def train(epochs, ckpt_path=None):
        module, seen = FrameAnswers(ADAM), Seen()
        callbacks = [BackboneFinetuning(unfreeze_backbone_at_epoch=1), seen, LastCheckpoint(str(tmp_path))]
        fit(module, FEW, FEW, callbacks, epochs, logger=False, ckpt_path=ckpt_path)
        return module.network.state_dict()

    whole = train(3)
    train(2)
    resumed = train(3, tmp_path / "last.ckpt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finetuning_under_a_schedule_is_refused(fit):
    with pytest.raises(ActionRecError, match=r"BackboneFinetuning.*scheduler=none"):
        fit(FrameAnswers(ADAM, COSINE), FEW, FEW, [BackboneFinetuning()], logger=False)
