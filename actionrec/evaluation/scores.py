"""Scores of clips or stills: logits, labels and names, and their files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from actionrec.settings.values import either, integer, list_of, mapping_of, one_of, reason, text
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path

# File names in a run folder, by part.
FILES = {"train": "scores_train.npz", "val": "scores_val.npz", "test": "scores.npz"}
LARGEST = 1 << 30  # bytes; a file that unpacks to more is refused


class Scores(NamedTuple):
    """Logits (N, K) float32 and labels (N,) int64 of N names.

    `actions` names the K labels, `groups` the source video of each of the N samples; a still is its own source.
    `protocol` records how the scores were measured, see `measurement.protocol_of`; None in files of earlier versions.
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
    """Average the views of each sample: one row per name, the log of the mean of the views' probabilities.

    Rows are in order of first appearance. If every name has one view, the logits stay unchanged.
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
    """Read a file that `save` has written.

    Raises:
        ActionRecError: the file is missing or is no scores file: logits are not finite or not of shape (N, K), labels
            are out of range, or a name or an action occurs twice.
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
            protocol = json.loads(str(arrays["protocol"])) if "protocol" in arrays else None
        _check(**found)
        _check_protocol(protocol)
    except Exception as error:  # zipfile and NumPy raise many types for foreign and damaged files
        raise ActionRecError(
            f"{path} is not a scores file ({reason(error, 200)}); run actionrec evaluate to write it"
        ) from None
    logits, labels = torch.from_numpy(found["logits"]).float(), torch.from_numpy(found["labels"].astype(np.int64))
    names, groups = found["names"].tolist(), found["groups"].tolist()
    return Scores(names, logits, labels, tuple(found["actions"].tolist()), groups, protocol)


def _check(names: np.ndarray, logits: np.ndarray, labels: np.ndarray, actions: np.ndarray, groups: np.ndarray) -> None:
    """Raise ValueError unless the arrays have the types, shapes and values of scores."""
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


def _check_protocol(protocol: Any) -> None:
    """Raise ValueError unless a protocol is None or a mapping of names to plain values."""
    if protocol is not None:
        value = either(one_of(None), integer(0, 10_000), text(200, resolved=False))
        mapping_of(text(100, resolved=False), value)(protocol, "protocol")
