"""Gallery of right and wrong predictions: pictures, Grad-CAM and predictions of test clips."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from actionrec.callbacks.pictures import sample_pictures
from actionrec.datamodules import run_data
from actionrec.datamodules.base import collate
from actionrec.datasets.records import Splits
from actionrec.evaluation.gradcam import overlay, saliency
from actionrec.evaluation.metrics import probabilities_of
from actionrec.evaluation.scores import Scores
from actionrec.modules.checkpoint import load_module, read
from actionrec.reporting.chain import Chain
from actionrec.reporting.comparison import fused, networks
from actionrec.reporting.records import Run
from actionrec.runs.folder import RunFolder
from actionrec.settings.untrusted import check_data
from actionrec.system.errors import ActionRecError

TOP = 3  # most probable actions that are shown
SIDE = 224  # pixels; larger pictures are reduced to this side
CHOICE = (
    "Selected by a rule, not at random: of the test clips that {network} has right (wrong), the most confident one of "
    "each action, then the second one of each action, in order of falling confidence. The gallery thus shows the most "
    "confident predictions, not typical ones."
)


class Answer(NamedTuple):
    """The most probable actions of one network, with their probabilities."""

    network: str
    top: list[tuple[str, float]]


class Shown(NamedTuple):
    """A clip: its pictures (H, W, 3) uint8 by caption, and each network's predictions."""

    name: str
    action: str
    answer: str
    confidence: float
    pictures: dict[str, np.ndarray]
    answers: list[Answer]


class Gallery(NamedTuple):
    """Clips that the network of `stage` predicts right and wrong, with the total numbers of both kinds."""

    stage: str
    right: list[Shown]
    wrong: list[Shown]
    n_right: int
    n_wrong: int


def best_network(chain: Chain) -> Run:
    """The run of the fusion network, or without one the run on clips with the highest test accuracy.

    Raises:
        ActionRecError: no run of the chain's clips has scores, a configuration and a checkpoint.
    """
    whole = [run for run in networks(chain).values() if run.scores and run.config and run.checkpoint]
    if not whole:
        raise ActionRecError("no run on clips has scores, a configuration and a checkpoint")
    both = fused(chain)
    return max(whole, key=lambda run: (run is both, run.metrics["test/acc"]))


def choose(scores: Scores, each: int, right: bool) -> list[int]:
    """Rows of at most `each` right (or wrong) predictions: the most confident of each action, then the second ones."""
    probabilities, labels = probabilities_of(scores), scores.labels.numpy()
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    rows = sorted(np.flatnonzero(correct == right), key=lambda row: (-confidence[row], scores.names[row]))
    earlier: dict[int, int] = {}  # number of more confident clips, by action
    ranked = []
    for row in rows:
        rank = earlier.get(int(labels[row]), 0)
        earlier[int(labels[row])] = rank + 1
        ranked.append((rank, int(row)))
    ranked.sort(key=lambda pair: pair[0])  # a stable sort keeps the order of falling confidence within a rank
    return [row for _, row in ranked[:each]]


def create(chain: Chain, each: int, trust: Sequence[str] = ()) -> Gallery:
    """Create a gallery of at most `each` right and `each` wrong predictions.

    Args:
        chain: the chain whose best network is shown.
        each: largest number of right, and of wrong, predictions.
        trust: modules of the user that the checkpoint may name, see `untrusted.check_targets`.

    Raises:
        ActionRecError: the data are not in the run's folders any more, or no run can be shown.
    """
    run = best_network(chain)
    scores = run.scores
    assert scores
    chosen = {right: choose(scores, each, right) for right in (True, False)}
    rows = chosen[True] + chosen[False]
    pictures = _pictures(run, [scores.names[row] for row in rows], probabilities_of(scores).argmax(1)[rows], trust)
    asked = {stage: other.scores for stage, other in networks(chain).items() if other.scores}
    found = [_shown(scores, row, seen, asked) for row, seen in zip(rows, pictures, strict=True)]
    n_right = int((probabilities_of(scores).argmax(1) == scores.labels.numpy()).sum())
    split = len(chosen[True])
    return Gallery(run.stage, found[:split], found[split:], n_right, len(scores.names) - n_right)


def top(scores: Scores, row: int) -> list[tuple[str, float]]:
    """The `TOP` most probable actions of a sample, with their probabilities."""
    probabilities = probabilities_of(scores._replace(logits=scores.logits[row : row + 1]))[0]
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    return [(scores.actions[index], float(probabilities[index])) for index in best]


def _shown(scores: Scores, row: int, pictures: dict[str, np.ndarray], networks: Mapping[str, Scores]) -> Shown:
    name = scores.names[row]
    answers = [
        Answer(stage, top(other, other.names.index(name)) if name in other.names else [])
        for stage, other in networks.items()
    ]
    [(answer, confidence), *_] = top(scores, row)
    return Shown(name, scores.actions[int(scores.labels[row])], answer, confidence, pictures, answers)


def _pictures(run: Run, names: Sequence[str], answers: np.ndarray, trust: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """Pictures of each test clip by caption: each stream's input, and its Grad-CAM of the predicted action."""
    best = RunFolder(run.path).best
    checkpoint = read(best, "checkpoint", trust)
    inputs = checkpoint["lineage"]["inputs"]
    batch = _batch(run, inputs, names, trust)
    module = load_module(best, checkpoint)
    streams = list(inputs["streams"])
    maps = saliency(module.network, {stream: batch[stream] for stream in streams}, torch.from_numpy(answers))
    found = []
    for index in range(len(names)):
        seen = sample_pictures({stream: batch[stream][index] for stream in streams}, inputs)
        looked_at = {
            f"Grad-CAM, {stream}": overlay(picture, maps[stream][index].numpy())
            for stream, picture in seen.items()
            if stream in maps
        }
        found.append({caption: _small(picture) for caption, picture in {**seen, **looked_at}.items()})
    return found


def _batch(run: Run, inputs: Mapping[str, Any], names: Sequence[str], trust: Sequence[str]) -> dict[str, Any]:
    """A batch with one view of each test clip in `names`."""
    assert run.config
    said = check_data(run.config.get("data"), run.path / "config.yaml", trust)
    if "position" not in said:
        raise ActionRecError(f"{run.path}: its data are stills; the gallery needs a run on clips")
    data = run_data.create(run.path, said, inputs, trust, crops=1, segments=1)
    actions, splits = data.index()
    record_of = {record.name: record for part in Splits._fields for record in getattr(splits, part)}
    if absent := [name for name in names if name not in record_of]:
        raise ActionRecError(
            f"{len(absent)} of the clips are not in the data any more (first: {absent[0]}); restore the files, or "
            "measure the run again"
        )
    samples = data.dataset([record_of[name] for name in names], {a: i for i, a in enumerate(actions)}, "test")
    return collate([samples[index] for index in range(len(samples))])


def _small(picture: np.ndarray) -> np.ndarray:
    longer = max(picture.shape[:2])
    if longer <= SIDE:
        return picture
    return cv2.resize(picture, None, fx=SIDE / longer, fy=SIDE / longer, interpolation=cv2.INTER_AREA)
