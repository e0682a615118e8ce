"""Scores of clips (or stills): what networks are compared by, kept by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from actionrec.errors import ActionRecError
from actionrec.files import atomic_path
from actionrec.untrusted import list_of, reason, text

# Of a run folder, the scores of each part.
FILES = {"train": "scores_train.npz", "val": "scores_val.npz", "test": "scores.npz"}
LARGEST = 1 << 30  # bytes of a file unpacked


class Scores(NamedTuple):
    """Logits (N, K) float32 and labels (N,) int64 of N names.

    `actions` names the K labels, `groups` the N source videos; a still is its own.
    """

    names: list[str]
    logits: Tensor
    labels: Tensor
    actions: tuple[str, ...]
    groups: list[str]


def average_views(
    names: list[str], logits: Tensor, labels: Tensor, actions: tuple[str, ...], group_of: Mapping[str, str]
) -> Scores:
    """One row per name, in order of first appearance: log of the mean of its views' probabilities.

    A name with one view keeps its logits.
    """
    order = list(dict.fromkeys(names))
    groups = [group_of[name] for name in order]
    if len(order) == len(names):
        return Scores(names, logits, labels, actions, groups)
    row_of = {name: row for row, name in enumerate(order)}
    rows = torch.tensor([row_of[name] for name in names])
    sums = torch.zeros(len(order), logits.shape[1]).index_add_(0, rows, logits.softmax(dim=1))
    views = torch.bincount(rows).unsqueeze(1)
    first = torch.tensor([names.index(name) for name in order])
    return Scores(order, (sums / views).clamp_min(1e-12).log(), labels[first], actions, groups)


def save(scores: Scores, path: Path) -> None:
    """Write scores as npz: `names`, `logits`, `labels`, `actions`, `groups`."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            names=np.array(scores.names),
            logits=scores.logits.numpy(),
            labels=scores.labels.numpy(),
            actions=np.array(scores.actions),
            groups=np.array(scores.groups),
        )


def load(path: Path) -> Scores:
    """Read what `save` wrote.

    Raises:
        ActionRecError: the file is missing or holds something else: logits that are not finite or not of the names and
            actions, labels that are none of the actions', names or actions twice.
    """
    keys = ("names", "logits", "labels", "actions", "groups")
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise ValueError("it unpacks to more than scores take")
        with np.load(path, allow_pickle=False) as arrays:
            found = dict(zip(keys, (arrays[key] for key in keys), strict=True))
        _check(**found)
    except Exception as error:  # whatever a file that is none makes zipfile and NumPy raise
        raise ActionRecError(
            f"{path} is not a scores file ({reason(error, 200)}); run actionrec.evaluate to write it"
        ) from None
    logits, labels = torch.from_numpy(found["logits"]).float(), torch.from_numpy(found["labels"].astype(np.int64))
    return Scores(found["names"].tolist(), logits, labels, tuple(found["actions"].tolist()), found["groups"].tolist())


def _check(names: np.ndarray, logits: np.ndarray, labels: np.ndarray, actions: np.ndarray, groups: np.ndarray) -> None:
    """Raise ValueError unless the arrays are scores, and of one piece."""
    texts, numbers = {"names": names, "actions": actions, "groups": groups}, {"logits": logits, "labels": labels}
    if wrong := [key for key, array in texts.items() if array.dtype.kind != "U" or array.ndim != 1]:
        raise ValueError(f"{wrong[0]} is no list of texts")
    if wrong := [key for key, array in numbers.items() if array.dtype.kind not in {"logits": "f", "labels": "iu"}[key]]:
        raise ValueError(f"{wrong[0]} are {numbers[wrong[0]].dtype}")
    shape = (len(names), len(actions))
    if not (logits.shape == shape and labels.shape == groups.shape == shape[:1] and min(shape) > 0):
        raise ValueError(f"{shape[0]} names of {shape[1]} actions do not go with {logits.shape} logits")
    if not np.isfinite(logits.astype(np.float32)).all():
        raise ValueError("its logits are not finite")
    if labels.min() < 0 or labels.max() >= len(actions):
        raise ValueError(f"its labels are not from 0 to {len(actions) - 1}")
    for key, array in texts.items():
        list_of(text(1000, resolved=False), longest=len(array), distinct=key != "groups")(array.tolist(), key)
