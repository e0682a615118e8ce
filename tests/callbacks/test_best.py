"""Which epoch's weights are kept, and that they are those that validation saw."""

import shutil

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

from actionrec.callbacks import SaveRngState
from actionrec.callbacks.best import BestCheckpoint, LastCheckpoint, Score, checkpoints_whole
from actionrec.system.errors import ActionRecError
from tests.callbacks.conftest import ACTIONS, INPUTS, FrameAnswers, Samples

SAMPLES = Samples([0, 1, 2], [0, 2, 1])
LEARNS = {"_target_": "torch.optim.SGD", "lr": 0.05}


class Scripted(FrameAnswers):
    """Its validation has the metrics that it is given."""

    def __init__(self, accuracies, losses, optimizer=LEARNS):
        super().__init__(optimizer)
        self.hparams.update(actions=ACTIONS, inputs=INPUTS)
        self.lineage = {"stage": "made", "data": "demo", "split": 1, "seed": 0, "actions": list(ACTIONS)}
        self.said = {"val/acc": accuracies, "val/loss": losses}

    def validation_step(self, batch, index):
        pass

    def on_validation_epoch_end(self):
        self.log_dict({tag: values[self.current_epoch] for tag, values in self.said.items()})


class Seen(Callback):
    """The weights under which each validation ran."""

    def __init__(self):
        self.weights = []

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.weights.append(weights_of(pl_module.state_dict()))


class Killed(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("power")


def weights_of(state):
    return state["network.head.weight"].clone()


def checkpoints(folder):
    return [BestCheckpoint(str(folder)), LastCheckpoint(str(folder))]


def load(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([0.5, 0.5, 0.5], [2.0, 1.0, 3.0], 1),  # a tie goes to the lower loss
        ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0], 0),  # and of equals the earlier is kept
        ([0.5, 0.6, 0.5], [1.0, 9.0, 0.5], 1),
        ([0.5, 0.4, float("nan")], [float("nan"), 1.0, 0.1], 0),
        ([0.5, 0.5, 0.4], [float("nan"), 1.0, 0.1], 1),
    ],
)
def test_the_best_epoch_is_that_of_the_highest_accuracy_then_of_the_lowest_loss(
    tmp_path, fit, accuracies, losses, best
):
    seen = Seen()
    fit(Scripted(accuracies, losses), SAMPLES, SAMPLES, [seen, *checkpoints(tmp_path)], epochs=3, logger=False)
    kept = load(tmp_path / "best.ckpt")
    assert kept["epoch"] == best
    assert torch.equal(weights_of(kept["state_dict"]), seen.weights[best])
    assert "optimizer_states" not in kept
    assert load(tmp_path / "last.ckpt")["epoch"] == 2


@pytest.mark.parametrize("averaging", [EMAWeightAveraging, WeightAveraging])
@pytest.mark.parametrize("first", [True, False])
def test_averaged_weights_are_kept_where_validation_saw_them(tmp_path, fit, averaging, first):
    seen, average = Seen(), averaging()
    callbacks = [seen, *checkpoints(tmp_path)]
    module = Scripted([0.5, 0.6, 0.4], [1.0, 1.0, 1.0])
    fit(module, SAMPLES, SAMPLES, [average, *callbacks] if first else [*callbacks, average], epochs=3, logger=False)
    kept, last = load(tmp_path / "best.ckpt"), load(tmp_path / "last.ckpt")
    assert kept["epoch"] == 1
    assert torch.equal(weights_of(kept["state_dict"]), seen.weights[1])
    assert not torch.equal(weights_of(last["current_model_state"]), weights_of(last["state_dict"]))


def test_an_average_goes_on_where_it_was(tmp_path, fit):
    """A run that is killed and goes on elsewhere is bit-identical with one that was not."""
    accuracies, losses = [0.5, 0.4, 0.6, 0.7], [1.0] * 4
    whole, old, new = (tmp_path / name for name in ("whole", "old", "new"))

    def train(folder, *more, ckpt_path=None):
        callbacks = [EMAWeightAveraging(decay=0.5), SaveRngState(), *more, *checkpoints(folder)]
        torch.manual_seed(0)
        fit(Scripted(accuracies, losses), SAMPLES, SAMPLES, callbacks, 4, logger=False, ckpt_path=ckpt_path)

    train(whole)
    with pytest.raises(RuntimeError, match="power"):
        train(old, Killed(2))
    shutil.move(old, new)
    train(new, ckpt_path=new / "last.ckpt")
    first, second = (load(folder / "best.ckpt") for folder in (whole, new))
    assert first["epoch"] == second["epoch"] == 3
    assert all(torch.equal(value, second["state_dict"][key]) for key, value in first["state_dict"].items())


def test_weights_that_are_swapped_in_after_the_last_validation_are_refused(tmp_path, fit):
    module = Scripted([0.5], [1.0])
    with pytest.raises(ActionRecError, match=r"StochasticWeightAveraging .* use .*WeightAveraging"):
        fit(module, SAMPLES, SAMPLES, [StochasticWeightAveraging(1e-2), *checkpoints(tmp_path)], logger=False)


def test_a_quantity_that_validation_does_not_measure_is_named(tmp_path, fit):
    with pytest.raises(ActionRecError, match=r"callbacks.best.monitor=foo: validation measures val/acc, val/loss"):
        fit(Scripted([0.5], [1.0]), SAMPLES, SAMPLES, [BestCheckpoint(str(tmp_path), monitor="foo")], logger=False)


@pytest.mark.parametrize("place", ["moved", "copied from"])
def test_a_training_that_goes_on_elsewhere_knows_what_it_has_to_beat(tmp_path, fit, place):
    """A moved folder, and a fresh one that goes on from another's checkpoint."""
    accuracies, losses = [0.5, 0.9, 0.6, 0.7], [1.0] * 4
    old, new = tmp_path / "old", tmp_path / "new"
    with pytest.raises(RuntimeError, match="power"):
        fit(Scripted(accuracies, losses), SAMPLES, SAMPLES, [Killed(3), *checkpoints(old)], epochs=4, logger=False)
    best = load(old / "best.ckpt")
    if place == "moved":
        shutil.move(old, new)
        start = new / "last.ckpt"
    else:
        start = old / "last.ckpt"
    callbacks = checkpoints(new)
    fit(Scripted(accuracies, losses), SAMPLES, SAMPLES, callbacks, epochs=4, logger=False, ckpt_path=start)
    assert callbacks[0].best == Score(pytest.approx(0.9), 1.0, 1)
    kept = load(new / "best.ckpt")
    assert kept["epoch"] == best["epoch"] == 1
    assert torch.equal(weights_of(kept["state_dict"]), weights_of(best["state_dict"]))
    assert load(new / "last.ckpt")["epoch"] == 3


@pytest.mark.parametrize("harm", ["lost", "cut", "of another run"])
def test_best_weights_that_are_lost_are_replaced_by_those_there_are(tmp_path, fit, harm, caplog):
    accuracies, losses = [0.5, 0.9, 0.6, 0.55, 0.7], [1.0] * 5
    with pytest.raises(RuntimeError, match="power"):
        fit(Scripted(accuracies, losses), SAMPLES, SAMPLES, [Killed(3), *checkpoints(tmp_path)], 5, logger=False)
    assert checkpoints_whole(tmp_path)
    best = tmp_path / "best.ckpt"
    if harm == "lost":
        best.unlink()
    elif harm == "cut":
        best.write_bytes(best.read_bytes()[:1000])
    else:
        torch.save({**load(best), "lineage": {"stage": "made", "seed": 1}}, best)
    assert not checkpoints_whole(tmp_path)
    ends = 4 if harm == "lost" else 5
    last = load(tmp_path / "last.ckpt")
    module, callbacks = Scripted(accuracies, losses), checkpoints(tmp_path)
    fit(module, SAMPLES, SAMPLES, callbacks, epochs=ends, logger=False, ckpt_path=tmp_path / "last.ckpt")
    assert "best.ckpt is missing or damaged" in caplog.text
    kept = load(best)
    assert kept["epoch"] == (2 if ends == 4 else 4)
    assert checkpoints_whole(tmp_path)
    if ends == 4:
        assert torch.equal(weights_of(kept["state_dict"]), weights_of(last["state_dict"]))
        assert "optimizer_states" not in kept


def test_a_whole_state_of_lightnings_own_callback_is_gone_on_from(tmp_path, fit):
    """As runs had before: the best score is in `last.ckpt` alone."""
    accuracies, losses = [0.5, 0.9, 0.6, 0.7], [1.0] * 4
    with pytest.raises(RuntimeError, match="power"):
        fit(Scripted(accuracies, losses), SAMPLES, SAMPLES, [Killed(3), *checkpoints(tmp_path)], 4, logger=False)
    best, last = load(tmp_path / "best.ckpt"), load(tmp_path / "last.ckpt")
    del best["best"], last["callbacks"]["BestCheckpoint"]
    last["callbacks"]["ModelCheckpoint{'monitor': 'val/acc'}"] = {
        "monitor": "val/acc",
        "best_model_score": torch.tensor(0.9),
        "dirpath": "/elsewhere",
    }
    torch.save(best, tmp_path / "best.ckpt")
    torch.save(last, tmp_path / "last.ckpt")
    callbacks = checkpoints(tmp_path)
    module = Scripted(accuracies, losses)
    fit(module, SAMPLES, SAMPLES, callbacks, epochs=4, logger=False, ckpt_path=tmp_path / "last.ckpt")
    assert load(tmp_path / "best.ckpt")["epoch"] == 1
    assert callbacks[0].best == Score(pytest.approx(0.9), float("inf"), 1)


@pytest.mark.parametrize("folder", ["", "nothing here"])
def test_checkpoints_that_are_not_there_are_not_whole(tmp_path, folder):
    assert not checkpoints_whole(tmp_path / folder)
