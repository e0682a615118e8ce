import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

from actionrec.errors import ActionRecError
from actionrec.evaluation.scores import Scores, average_views, load, metrics, save

ACTIONS = tuple("abcdefg")


@pytest.fixture
def scores():
    torch.manual_seed(0)
    labels = torch.cat([torch.arange(7), torch.randint(0, 7, (60,))])
    return Scores([f"clip{i}" for i in range(67)], torch.randn(67, 7), labels, ACTIONS)


def test_metrics_are_scikit_learns(scores):
    found = metrics(scores, "test")
    labels, probabilities = scores.labels.numpy(), scores.logits.softmax(1).double().numpy()
    assert found["test/acc"] == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert found["test/acc_macro"] == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(1)))
    assert found["test/acc_top5"] == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found["test/loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-5)


def test_top5_of_two_actions_is_top2():
    scores = Scores(["a", "b"], torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), ("x", "y"))
    assert metrics(scores, "val") == pytest.approx(
        {"val/loss": 0.8133, "val/acc": 0.5, "val/acc_top5": 1.0, "val/acc_macro": 0.5}, abs=1e-3
    )


def test_views_of_a_name_are_averaged_whatever_their_order():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]]))
    scores = average_views(["p", "q", "p", "q"], logits, torch.tensor([0, 1, 0, 1]), ("x", "y"))
    assert scores.names == ["p", "q"]
    assert scores.labels.tolist() == [0, 1]
    assert scores.logits.softmax(1).tolist() == [pytest.approx([0.7, 0.3]), pytest.approx([0.4, 0.6])]


def test_one_view_keeps_its_logits(scores):
    assert torch.equal(average_views(*scores).logits, scores.logits)


def test_scores_are_read_back(tmp_path, scores):
    save(scores, tmp_path / "scores.npz")
    again = load(tmp_path / "scores.npz")
    assert again.names == scores.names
    assert again.actions == ACTIONS
    assert torch.equal(again.logits, scores.logits)
    assert torch.equal(again.labels, scores.labels)


@pytest.mark.parametrize("content", [None, b"junk", "other"])
def test_files_that_are_no_scores_are_named(tmp_path, content):
    path = tmp_path / "scores.npz"
    if content == "other":
        np.savez(path, a=1)
    elif content:
        path.write_bytes(content)
    with pytest.raises(ActionRecError, match=r"scores\.npz is not a scores file"):
        load(path)
