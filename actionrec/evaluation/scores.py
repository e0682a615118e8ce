"""Scores of clips (or stills): what networks are compared by, kept by name."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from actionrec.errors import ActionRecError
from actionrec.files import atomic_path

# Of a run folder, the scores of each part.
FILES = {"train": "scores_train.npz", "val": "scores_val.npz", "test": "scores.npz"}


class Scores(NamedTuple):
    """Logits (N, K) float32 and labels (N,) int64 of N names.

    `actions` names the K labels, `groups` the N source videos; a still is its own. `protocol` says how the scores came
    about, see `measurement.protocol_of`; None of those of before it was recorded.
    """

    names: list[str]
    logits: Tensor
    labels: Tensor
    actions: tuple[str, ...]
    groups: list[str]
    protocol: Mapping[str, Any] | None = None


def average_views(
    names: list[str], logits: Tensor, labels: Tensor, actions: tuple[str, ...], group_of: Mapping[str, str]
) -> Scores:
    """One row per name, in order of first appearance: log of the mean of its views' probabilities.

    A name with one view keeps its logits.
    """
    row_of = {name: row for row, name in enumerate(dict.fromkeys(names))}
    order = list(row_of)
    groups = [group_of[name] for name in order]
    if len(order) == len(names):
        return Scores(names, logits, labels, actions, groups)
    rows = torch.tensor([row_of[name] for name in names])
    sums = torch.zeros(len(order), logits.shape[1]).index_add_(0, rows, logits.softmax(dim=1))
    views = torch.bincount(rows).unsqueeze(1)
    label_of = torch.zeros(len(order), dtype=labels.dtype).index_copy_(0, rows, labels)
    return Scores(order, (sums / views).clamp_min(1e-12).log(), label_of, actions, groups)


def save(scores: Scores, path: Path) -> None:
    """Write scores as npz: `names`, `logits`, `labels`, `actions`, `groups`, and `protocol` as JSON."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            names=np.array(scores.names),
            logits=scores.logits.numpy(),
            labels=scores.labels.numpy(),
            actions=np.array(scores.actions),
            groups=np.array(scores.groups),
            protocol=np.array(json.dumps(scores.protocol)),
        )


def load(path: Path) -> Scores:
    """Read what `save` wrote.

    Raises:
        ActionRecError: the file is missing or holds something else.
    """
    keys = ("names", "logits", "labels", "actions", "groups")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, logits, labels, actions, groups = (arrays[key] for key in keys)
            protocol = json.loads(str(arrays["protocol"])) if "protocol" in arrays else None
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ActionRecError(f"{path} is not a scores file ({error}); run actionrec.evaluate to write it") from None
    labels_logits = torch.from_numpy(logits), torch.from_numpy(labels)
    return Scores(names.tolist(), *labels_logits, tuple(actions.tolist()), groups.tolist(), protocol)
