"""Metrics that are collected in training are those of the saved scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from actionrec.evaluation.metrics import mean_class, measure
from actionrec.evaluation.scores import Scores
from actionrec.modules.metrics import MeanClassAccuracy, RankingMetrics
from tests.modules.test_modules import MODULES, Trainer


def batches_of(labels: list[int], answers: list[int], size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    logits = torch.nn.functional.one_hot(torch.tensor(answers), 5).float()
    return list(zip(logits.split(size), torch.tensor(labels).split(size), strict=True))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40),
    st.integers(1, 40),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_mean_class_accuracy_is_that_of_saved_scores(pairs, size):
    """Whatever actions are absent, and however the samples are batched."""
    labels, answers = (list(each) for each in zip(*pairs, strict=True))
    metric = MeanClassAccuracy(5)
    for batch in batches_of(labels, answers, size):
        metric.update(*batch)
    [expected] = mean_class(np.eye(5)[answers], np.array(labels), np.ones((1, len(labels))))
    assert float(metric.compute()) == pytest.approx(expected)


def test_an_action_that_is_answered_but_absent_does_not_count():
    """Where torchmetrics gives two thirds of it."""
    [batch] = batches_of([0, 0, 1], [0, 2, 1], 3)
    metric, other = MeanClassAccuracy(5), MulticlassAccuracy(5, average="macro")
    metric.update(*batch)
    other.update(*batch)
    assert float(metric.compute()) == pytest.approx(0.75)
    assert float(other.compute()) == pytest.approx(0.5)


def test_validation_logs_the_mean_class_accuracy_of_its_scores():
    """Of a network that has all of the first batch right, and then answers an action that no label names."""
    module = MODULES["frame"]()
    module.network = torch.nn.Identity()
    logits = torch.eye(3)[torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 0, 0])]
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    trainer = Trainer(**options, enable_checkpointing=False, enable_model_summary=False)
    batches = [{"frame": logits[i : i + 4], "label": labels[i : i + 4]} for i in (0, 4, 8)]
    [found] = trainer.validate(module, DataLoader(batches, batch_size=None), verbose=False)
    names = [str(name) for name in range(10)]
    measured = measure(Scores(names, logits, labels, module.actions, names), "val")
    for tag in ("val/acc", "val/acc_top5", "val/acc_macro"):
        assert found[tag] == pytest.approx(measured[tag], abs=1e-6), tag


@pytest.mark.parametrize("size", [1, 7, 40])
def test_ranking_metrics_are_those_of_saved_scores(size):
    logits, labels = torch.randn(40, 5), torch.randint(5, (40,))
    metric = RankingMetrics()
    for batch in zip(logits.split(size), labels.split(size), strict=True):
        metric.update(*batch)
    names = [f"{index}" for index in range(40)]
    expected = measure(Scores(names, logits, labels, ("a", "b", "c", "d", "e"), names), "val")
    found = metric.compute()
    assert {name: float(value) for name, value in found.items()} == {
        name: pytest.approx(expected[f"val/{name}"]) for name in ("f1_macro", "map")
    }
    metric.reset()
    metric.update(logits, logits.argmax(1))
    assert float(metric.compute()["f1_macro"]) == 1


def test_ranking_metrics_of_scores_that_are_none_are_none():
    metric = RankingMetrics()
    metric.update(torch.tensor([[torch.nan, 1.0]]), torch.tensor([1]))
    assert all(value.isnan() for value in metric.compute().values())
