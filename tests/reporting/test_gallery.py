import numpy as np
import pytest
import torch

from actionrec.evaluation.scores import Scores
from actionrec.reporting import gallery
from actionrec.reporting.chain import Chain
from actionrec.system.errors import ActionRecError


def scores_of(rows: list[tuple[int, int, float]]) -> Scores:
    """Samples of (label, answer, probability of the answer)."""
    logits = torch.zeros(len(rows), 3)
    for row, (_, answer, probability) in enumerate(rows):
        logits[row, answer] = np.log(probability / ((1 - probability) / 2))
    names = [f"clip{row}" for row in range(len(rows))]
    return Scores(names, logits, torch.tensor([label for label, *_ in rows]), ("a", "b", "c"), names)


def test_clips_are_the_most_confident_of_each_action_in_turn():
    scores = scores_of([(0, 0, 0.9), (0, 0, 0.99), (1, 1, 0.5), (0, 0, 0.95), (2, 1, 0.6), (1, 2, 0.8), (1, 1, 0.7)])
    assert gallery.choose(scores, 6, right=True) == [1, 6, 3, 2, 0]
    assert gallery.choose(scores, 3, right=True) == [1, 6, 3]
    assert gallery.choose(scores, 6, right=False) == [5, 4]
    assert gallery.top(scores, 5)[0] == ("c", pytest.approx(0.8))


def test_without_a_whole_run_on_clips_there_is_no_gallery():
    with pytest.raises(ActionRecError, match="no run on clips"):
        gallery.create(Chain(1, 0), 6)
