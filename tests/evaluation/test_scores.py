import time

import numpy as np
import pytest
import torch

from actionrec.errors import ActionRecError
from actionrec.evaluation.scores import Scores, average_views, load, save

ACTIONS = tuple("abcdefg")


@pytest.fixture
def scores():
    torch.manual_seed(0)
    labels = torch.cat([torch.arange(7), torch.randint(0, 7, (60,))])
    names = [f"clip{i}" for i in range(67)]
    return Scores(names, torch.randn(67, 7), labels, ACTIONS, [name[:5] for name in names])


def test_views_of_a_name_are_averaged_whatever_their_order():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]]))
    scores = average_views(["p", "q", "p", "q"], logits, torch.tensor([0, 1, 0, 1]), ("x", "y"), {"p": "s", "q": "t"})
    assert scores.names == ["p", "q"]
    assert scores.groups == ["s", "t"]
    assert scores.labels.tolist() == [0, 1]
    assert scores.logits.softmax(1).tolist() == [pytest.approx([0.7, 0.3]), pytest.approx([0.4, 0.6])]


def test_many_views_are_averaged_in_time_that_grows_with_their_number():
    """The literature's 25 × 10 views of a whole test part, against a quarter of its clips; a square would take 16 ×."""

    def seconds(clips: int, views: int = 250) -> float:
        names = [f"clip{index // views}" for index in range(clips * views)]
        labels = torch.arange(clips).repeat_interleave(views) % 3
        logits = torch.nn.functional.one_hot(labels, 3).float()
        group_of = dict(zip(names, names, strict=True))
        began = time.process_time()
        found = average_views(names, logits, labels, ("x", "y", "z"), group_of)
        took = time.process_time() - began
        assert found.names == [f"clip{index}" for index in range(clips)]
        assert torch.equal(found.labels, torch.arange(clips) % 3)
        assert torch.equal(found.logits.argmax(1), found.labels)
        return took

    quarter, whole = min(seconds(382) for _ in range(3)), min(seconds(1530) for _ in range(2))
    assert whole < 9 * quarter


def test_one_view_keeps_its_logits(scores):
    groups = dict(zip(scores.names, scores.groups, strict=True))
    again = average_views(*scores[:4], groups)
    assert torch.equal(again.logits, scores.logits)
    assert again.groups == scores.groups


def test_scores_are_read_back(tmp_path, scores):
    save(scores, tmp_path / "scores.npz")
    again = load(tmp_path / "scores.npz")
    assert again.names == scores.names
    assert again.groups == scores.groups
    assert again.actions == ACTIONS
    assert torch.equal(again.logits, scores.logits)
    assert torch.equal(again.labels, scores.labels)


@pytest.mark.parametrize("content", [None, b"junk", "other", "half"])
def test_files_that_are_no_scores_are_named(tmp_path, scores, content):
    path = tmp_path / "scores.npz"
    if content == "other":
        np.savez(path, a=1)
    elif content == "half":
        save(scores, path)
        path.write_bytes(path.read_bytes()[:-100])
    elif content:
        path.write_bytes(content)
    with pytest.raises(ActionRecError, match=r"scores\.npz is not a scores file"):
        load(path)
