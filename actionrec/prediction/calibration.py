"""Calibrated probabilities and a threshold for "none of these", from the scores of a run's validation part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from actionrec.evaluation.temperature import temperature
from actionrec.settings.untrusted import read_json
from actionrec.settings.values import SHA256, UnfitError, integer, number, optional, table, text
from actionrec.system.errors import ActionRecError
from actionrec.system.files import write_json

FILE = "calibration.json"  # beside the checkpoint
METHOD = "temperature scaling on validation"
_MEND = "make it again with actionrec predict <run> calibrate=true"


class Calibration(NamedTuple):
    """How logits become probabilities, and the least probability of an answer.

    Args:
        temperature: the logits are divided by it (Guo et al., ICML 2017).
        threshold: an answer whose probability is smaller is "none of these".
        method: how both were found.
        n: number of validation samples.
        rate: share of the right validation answers that the threshold rejects, at most.
        checkpoint: sha256 of the checkpoint that the scores are of.
        false_alarms: an hour of background at the threshold; None if not measured.
        hours: of background.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    method: str = "none"
    n: int = 0
    rate: float = 0.0
    checkpoint: str = ""
    false_alarms: float | None = None
    hours: float = 0.0

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """Probabilities (N, K) float64 of logits (N, K)."""
        return (logits.double() / self.temperature).softmax(dim=1).numpy()


_REQUIRED = {
    "temperature": number(0, 1000, above=True),
    "threshold": number(0, 1),
    "method": text(200),
    "n": integer(1, 10**9),
    "rate": number(0, 1),
    "checkpoint": SHA256,
}
_FIELDS = {**_REQUIRED, "false_alarms": optional(number(0)), "hours": number(0)}  # earlier versions lack the last two


def calibrate(
    logits: Tensor, labels: Tensor, rate: float = 0.05, checkpoint: str = "", none: int | None = None
) -> Calibration:
    """Fit a temperature and a threshold on held-out scores.

    The temperature has the largest likelihood of the labels. The threshold is the largest probability that rejects at
    most the share `rate` of the right answers.

    Args:
        logits: (N, K), of samples that the network was not trained on.
        labels: (N,) int64.
        rate: from 0 to 1; 0 rejects no right answer.
        checkpoint: sha256 of the checkpoint.
        none: label of the class background, which is no answer.

    Raises:
        ActionRecError: there are no scores, or no answer is right, which leaves nothing to choose a threshold by.
    """

    if not len(labels):
        raise ActionRecError("calibrate: there are no validation scores; measure the run with actionrec evaluate")
    scale = temperature(logits.double().numpy(), labels.numpy())
    right = right_answers(logits, labels, scale, none)
    if not len(right):
        raise ActionRecError("calibrate: no validation answer is right; train the network for longer")
    rejected = min(int(rate * len(right)), len(right) - 1)
    return Calibration(scale, float(right[rejected]), METHOD, len(labels), rate, checkpoint)


def right_answers(logits: Tensor, labels: Tensor, scale: float, none: int | None) -> Tensor:
    """The probabilities of the right answers, in ascending order; see `calibrate`."""
    best, answers = (logits.double() / scale).softmax(dim=1).max(dim=1)
    return torch.sort(best[(answers == labels) & (answers != (-1 if none is None else none))]).values


def save(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON, atomically."""
    write_json(path, calibration._asdict())


def load(path: Path, checkpoint: str) -> Calibration:
    """Read a file that `save` has written.

    Args:
        path: the file.
        checkpoint: sha256 of the checkpoint beside the file.

    Raises:
        ActionRecError: the file is damaged, or was made for other weights.
    """
    return of(read_json(path, mend=_MEND), path, checkpoint)


def of(content: Mapping[str, Any], path: Path, checkpoint: str) -> Calibration:
    """The calibration that a file holds as a mapping; see `load`.

    Args:
        content: as `Calibration._asdict` gives it.
        path: the file, for messages.
        checkpoint: sha256 of the checkpoint.
    """
    try:
        table(_FIELDS, tuple(_REQUIRED))(content)
    except UnfitError as error:
        raise ActionRecError(f"{path}: {error}; {_MEND}") from None
    if content["checkpoint"] != checkpoint:
        raise ActionRecError(f"{path} is of another checkpoint; {_MEND}")
    return Calibration(**content)
