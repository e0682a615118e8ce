"""Command lines in the way that people say them, put into Hydra's."""

import inspect

import lightning
import pytest

from actionrec.settings.composition import config_groups
from actionrec.settings.overrides import TRAINER_OPTIONS, for_hydra


def test_options_of_the_trainer_are_lightnings():
    known = {*inspect.signature(lightning.Trainer.__init__).parameters} - {"self", "logger", "callbacks"}
    assert known == TRAINER_OPTIONS


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("scheduler=null", ["scheduler=none"]),
        ("logger=null", ["logger=none"]),
        ("callbacks=null", ["callbacks=none"]),
        ("recipe=null", ["recipe=none"]),
        ("debug=null", ["debug=none"]),
        ("scheduler=null,onecycle", ["scheduler=none,onecycle"]),
        ("experiment=null", ["experiment=null"]),  # must be chosen
        (
            "optimizer={_target_: torch.optim.RAdam, lr: 1}",
            ["~optimizer", "+optimizer={_target_: torch.optim.RAdam, lr: 1}"],
        ),
        ("trainer.fast_dev_run=true", ["++trainer.fast_dev_run=true"]),
        ("trainer.gradient_clip_val=0.5,1", ["++trainer.gradient_clip_val=0.5,1"]),
        ("+trainer.fast_dev_run=true", ["+trainer.fast_dev_run=true"]),
        ("trainer.fast_dev_runn=true", ["trainer.fast_dev_runn=true"]),
        ("trainer=cpu", ["trainer=cpu"]),
        ("init_from=null", ["init_from=null"]),
        ("--multirun", ["--multirun"]),
        ("=?", ["=?"]),
    ],
)
def test_words_are_said_in_hydras_way(word, said):
    assert for_hydra([word], config_groups(), trains=True) == said


def test_commands_without_a_trainer_have_no_trainers_options():
    assert for_hydra(["trainer.max_epochs=3"], config_groups(), trains=False) == ["trainer.max_epochs=3"]
