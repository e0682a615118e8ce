import time

import numpy as np
import pytest
import torch

from actionrec.evaluation.scores import Scores, average_views, load, save
from actionrec.system.errors import ActionRecError

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


@pytest.mark.parametrize(
    ("key", "change", "says"),
    [
        ("labels", lambda labels: labels + 7, "labels are not from 0 to 6"),
        ("labels", lambda labels: labels - 1, "labels are not from 0 to 6"),
        ("labels", lambda labels: labels.astype(np.float32), "labels are float32"),
        ("labels", lambda labels: labels[:-1], "do not go with"),
        ("logits", lambda logits: logits * np.nan, "logits are not finite"),
        ("logits", lambda logits: np.where(logits > 2, np.inf, logits), "logits are not finite"),
        ("logits", lambda logits: logits.astype(np.float64) * 1e300, "logits are not finite"),
        ("logits", lambda logits: logits.astype(np.int64), "logits are int64"),
        ("logits", lambda logits: logits[:, :-1], r"do not go with \(67, 6\) logits"),
        ("logits", lambda logits: logits.ravel(), "do not go with"),
        ("names", lambda names: np.repeat(names[:1], 67), "names.* without repeated values"),
        ("names", lambda names: np.array([f"{name}\x1b" for name in names]), "without control characters"),
        ("names", lambda names: np.arange(67), "names is no list of texts"),
        ("names", lambda names: names.reshape(1, -1), "names is no list of texts"),
        ("names", lambda names: names[:0], "do not go with"),
        ("actions", lambda actions: np.array(["a"] * 7), "actions.* without repeated values"),
        ("actions", lambda actions: actions[:3], "do not go with"),
        ("groups", lambda groups: groups[:3], "do not go with"),
        ("groups", lambda groups: groups.astype("S"), "groups is no list of texts"),
    ],
)
def test_scores_that_are_not_of_a_piece_are_refused(tmp_path, scores, key, change, says):
    path = tmp_path / "scores.npz"
    save(scores, path)
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, key: change(content[key])})
    with np.errstate(over="ignore"), pytest.raises(ActionRecError, match=rf"scores\.npz is not a scores file.*{says}"):
        load(path)


def test_scores_of_other_numbers_are_made_theirs(tmp_path, scores):
    path = tmp_path / "scores.npz"
    save(scores, path)
    with np.load(path) as arrays:
        content = dict(arrays)
    content["logits"] = content["logits"].astype(np.float64)
    content["labels"] = content["labels"].astype(np.uint8)
    np.savez(path, **content)
    again = load(path)
    assert (again.logits.dtype, again.labels.dtype) == (torch.float32, torch.int64)
    assert torch.equal(again.logits, scores.logits)
    assert torch.equal(again.labels, scores.labels)


def test_scores_that_unpack_to_more_than_scores_take_are_not_read(tmp_path, monkeypatch, scores):
    monkeypatch.setattr("actionrec.evaluation.scores.LARGEST", 1000)
    save(scores, tmp_path / "scores.npz")
    with pytest.raises(ActionRecError, match="unpacks to more"):
        load(tmp_path / "scores.npz")
