"""Confusions of the actions with the class `background`, of clips of none of the actions."""

from actionrec.datasets.actions import BACKGROUND
from actionrec.evaluation.scores import Scores


def measure(scores: Scores, prefix: str) -> dict[str, float | int]:
    """Number of background samples and shares of two confusions; empty if the network has no class `background`.

    `<prefix>/background_n` is the number of background samples, `<prefix>/background_as_action` the share of the
    background samples that are taken for an action, and `<prefix>/action_as_background` the share of the other samples
    that are taken for background. The share of no samples is 0.
    """
    if BACKGROUND not in scores.actions:
        return {}
    label = scores.actions.index(BACKGROUND)
    is_background, answered = scores.labels == label, scores.logits.argmax(1) == label
    number = int(is_background.sum())
    taken, lost = int((is_background & ~answered).sum()), int((~is_background & answered).sum())
    return {
        f"{prefix}/background_n": number,
        f"{prefix}/background_as_action": taken / max(number, 1),
        f"{prefix}/action_as_background": lost / max(len(answered) - number, 1),
    }
