"""Clips that a network has right and wrong: what it sees, where it looks, and what it answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from actionrec.callbacks.pictures import sample_pictures
from actionrec.datamodules.base import collate
from actionrec.datasets.records import Splits
from actionrec.evaluation.gradcam import overlay, saliency
from actionrec.evaluation.metrics import probabilities_of
from actionrec.evaluation.scores import Scores
from actionrec.experiment.runs import RunFolder
from actionrec.modules.checkpoint import load_module, read
from actionrec.reporting.chain import Chain
from actionrec.reporting.comparison import fused, networks
from actionrec.reporting.records import Run
from actionrec.settings.messages import one_line
from actionrec.settings.untrusted import check_data, writes
from actionrec.system.errors import ActionRecError

TOP = 3
SIDE = 224  # pixels; larger inputs are shown smaller
CHOICE = (
    "Chosen by a rule, not at random: of the test clips that {network} has right (wrong), for each action the one that "
    "it is most sure of, then second ones, by falling confidence. They are its firmest answers, not its usual ones."
)


class Answer(NamedTuple):
    """The most probable actions of one network, with their probabilities."""

    network: str
    top: list[tuple[str, float]]


class Shown(NamedTuple):
    """A clip: its pictures (H, W, 3) uint8 by caption, and what each network answers."""

    name: str
    action: str
    answer: str
    confidence: float
    pictures: dict[str, np.ndarray]
    answers: list[Answer]


class Gallery(NamedTuple):
    """Clips that the network of `stage` has right and wrong, of how many."""

    stage: str
    right: list[Shown]
    wrong: list[Shown]
    n_right: int
    n_wrong: int


def best_network(chain: Chain) -> Run:
    """The two-stream network, or where there is none the better stream.

    Raises:
        ActionRecError: no run of the chain's clips has scores, a configuration and a checkpoint.
    """
    whole = [run for run in networks(chain).values() if run.scores and run.config and run.checkpoint]
    if not whole:
        raise ActionRecError("no run on clips has scores, a configuration and a checkpoint")
    both = fused(chain)
    return max(whole, key=lambda run: (run is both, run.metrics["test/acc"]))


def choose(scores: Scores, each: int, right: bool) -> list[int]:
    """Rows of at most `each` samples that are right (or wrong), the most confident first, spread over the actions."""
    probabilities, labels = probabilities_of(scores), scores.labels.numpy()
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    rows = sorted(np.flatnonzero(correct == right), key=lambda row: (-confidence[row], scores.names[row]))
    earlier: dict[int, int] = {}  # clips of the action that come before
    ranked = []
    for row in rows:
        rank = earlier.get(int(labels[row]), 0)
        earlier[int(labels[row])] = rank + 1
        ranked.append((rank, int(row)))
    ranked.sort(key=lambda pair: pair[0])  # stable: within a rank by falling confidence
    return [row for _, row in ranked[:each]]


def create(chain: Chain, each: int, trust: Sequence[str] = ()) -> Gallery:
    """At most `each` clips that are right and `each` that are wrong.

    Args:
        chain: whose best network is asked.
        each: number of clips.
        trust: modules of the user that its checkpoint may name, see `untrusted.check_targets`.

    Raises:
        ActionRecError: the data are not where the run had them, or no run can be shown.
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
    """The most probable actions of a sample, and their probabilities."""
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
    """Of each test clip: frame, flow, and where each stream finds what speaks for the answer."""
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
    """One view, at the middle of `position`, of test clips by name.

    The run's file says where the clips are; of where files are written nothing: frames that have to be taken out of
    the clips go beside the runs.
    """
    assert run.config
    where = run.path / "config.yaml"
    said = check_data(run.config.get("data"), where, trust)
    one_view = {"num_workers": 0, "augmentation": "none", "crops": 1, "segments": 1, "cache": None}
    own, places = str(run.path.parents[1] / "frames"), {}
    for name in inputs["streams"]:
        there = said.get(name, {})
        places[name] = {"folder": own if writes(there) else there.get("folder")}
    streams = {name: {**settings, **places[name]} for name, settings in inputs["streams"].items()}
    dataset = dict(said["dataset"])
    if "split_file" in dataset and not Path(str(dataset["split_file"])).is_file():  # else it is only read
        dataset["split_file"] = str(run.path.parents[1] / f"split-seed{dataset.get('seed', 0)}.csv")
    settings = {
        **said,
        "dataset": dataset,
        **one_view,
        **{key: inputs[key] for key in inputs if key != "streams"},
        **streams,
    }
    if "position" not in settings:
        raise ActionRecError(f"{run.path}: its data are no clips")
    try:
        data = instantiate(settings, _convert_="all")
    except InstantiationException as error:
        raise ActionRecError(f"{where}: data: {one_line(error)}") from None
    actions, splits = data.index()
    record_of = {record.name: record for part in Splits._fields for record in getattr(splits, part)}
    if absent := [name for name in names if name not in record_of]:
        raise ActionRecError(f"{len(absent)} of the clips are not in the data any more (first: {absent[0]})")
    samples = data.dataset([record_of[name] for name in names], {a: i for i, a in enumerate(actions)}, "test")
    return collate([samples[index] for index in range(len(samples))])


def _small(picture: np.ndarray) -> np.ndarray:
    longer = max(picture.shape[:2])
    if longer <= SIDE:
        return picture
    return cv2.resize(picture, None, fx=SIDE / longer, fy=SIDE / longer, interpolation=cv2.INTER_AREA)
