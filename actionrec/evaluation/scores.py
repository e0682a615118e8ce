"""Scores of clips (or stills): what networks are compared by, kept by name."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy

from actionrec.errors import ActionRecError
from actionrec.files import atomic_path


class Scores(NamedTuple):
    """Logits (N, K) float32 and labels (N,) int64 of N names; `actions` names the K labels."""

    names: list[str]
    logits: Tensor
    labels: Tensor
    actions: tuple[str, ...]


def average_views(names: list[str], logits: Tensor, labels: Tensor, actions: tuple[str, ...]) -> Scores:
    """One row per name, in order of first appearance: log of the mean of its views' probabilities.

    A name with one view keeps its logits.
    """
    order = list(dict.fromkeys(names))
    if len(order) == len(names):
        return Scores(names, logits, labels, actions)
    row_of = {name: row for row, name in enumerate(order)}
    rows = torch.tensor([row_of[name] for name in names])
    sums = torch.zeros(len(order), logits.shape[1]).index_add_(0, rows, logits.softmax(dim=1))
    views = torch.bincount(rows).unsqueeze(1)
    first = torch.tensor([names.index(name) for name in order])
    return Scores(order, (sums / views).clamp_min(1e-12).log(), labels[first], actions)


def metrics(scores: Scores, prefix: str) -> dict[str, float]:
    """`<prefix>/loss`, `/acc` (top-1), `/acc_top5` (top-K where K < 5) and `/acc_macro` (mean over the actions)."""
    classes = len(scores.actions)

    def accuracy(average: Literal["micro", "macro"], top_k: int = 1) -> float:
        value = multiclass_accuracy(scores.logits, scores.labels, classes, average=average, top_k=top_k)
        return float(value)

    return {
        f"{prefix}/loss": float(F.cross_entropy(scores.logits, scores.labels)),
        f"{prefix}/acc": accuracy("micro"),
        f"{prefix}/acc_top5": accuracy("micro", min(5, classes)),
        f"{prefix}/acc_macro": accuracy("macro"),
    }


def save(scores: Scores, path: Path) -> None:
    """Write scores as npz: `names`, `logits`, `labels`, `actions`."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            names=np.array(scores.names),
            logits=scores.logits.numpy(),
            labels=scores.labels.numpy(),
            actions=np.array(scores.actions),
        )


def load(path: Path) -> Scores:
    """Read what `save` wrote.

    Raises:
        ActionRecError: the file is missing or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, logits, labels, actions = (arrays[key] for key in ("names", "logits", "labels", "actions"))
    except (OSError, KeyError, ValueError) as error:
        raise ActionRecError(f"{path} is not a scores file ({error}); run actionrec.evaluate to write it") from None
    return Scores(names.tolist(), torch.from_numpy(logits), torch.from_numpy(labels), tuple(actions.tolist()))
