"""Confusions of actions with background."""

import torch

from actionrec.evaluation import background
from actionrec.evaluation.scores import Scores


def scores(labels, answers, actions):
    logits = torch.nn.functional.one_hot(torch.tensor(answers), len(actions)).float()
    names = [str(number) for number in range(len(labels))]
    return Scores(names, logits, torch.tensor(labels), actions, names)


def test_both_confusions_are_counted():
    found = background.measure(scores([0, 0, 0, 1, 2, 2], [0, 2, 1, 1, 2, 0], ("run", "sit", "background")), "test")
    assert found == {"test/background_n": 2, "test/background_as_action": 0.5, "test/action_as_background": 0.25}


def test_a_part_of_one_kind_has_no_confusion_of_the_other():
    only = background.measure(scores([0, 0], [0, 1], ("run", "background")), "val")
    assert only == {"val/background_n": 0, "val/background_as_action": 0.0, "val/action_as_background": 0.5}


def test_a_network_without_background_has_none_of_it():
    assert background.measure(scores([0, 1], [1, 1], ("run", "sit")), "test") == {}
