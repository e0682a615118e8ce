"""`python -m benchmarks.gate outputs/<data> …`: the gated fusions of a folder's runs against their best single streams.

The single stream is the one that the gate's own out-of-fold scores name. A stream alone is one network. A gate of other
networks than the streams' runs has two rows: one against that stream's networks alike, which says what the fusion
brings, and one against the stream's run, which says what fusion and networks bring. Networks alike are the mean
probability of as many for a bagged gate (`model.members`), and for `refit` the one that is trained on all clips. The
difference of the accuracies on the test is pooled over splits and seeds; its interval resamples source videos, each
with its clips of all runs. As a control, the gate is chosen again with one stream's scores permuted over the clips: it
has to drop that stream.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from actionrec.evaluation import scores
from actionrec.evaluation.fusion import average, matched
from actionrec.evaluation.gate import choose
from actionrec.evaluation.metrics import sources
from actionrec.evaluation.scores import Scores
from actionrec.experiment import gating
from actionrec.modules.checkpoint import read
from actionrec.runs import folds, manifest
from actionrec.system.errors import ActionRecError
from actionrec.system.files import WORKING_SUFFIXES
from benchmarks.common import table

ROUNDS = 10_000
OWN = "1"  # the network of a stream's run
OF_ALL = "1, of all clips"  # the one that is trained on the validation clips, too


class Gated(NamedTuple):
    """A gated run: whether each test clip is right by the gate, and by each stream alone; the source videos.

    `alone` has the streams by their networks: `OWN`, `OF_ALL`, or the number of those that are averaged.
    """

    run: Path
    chosen: str
    fused: np.ndarray
    alone: dict[str, dict[str, np.ndarray]]
    single: str
    groups: list[str]
    dropped: dict[str, bool]


def measure(folder: Path) -> list[dict[str, Any]]:
    """The rows of a data set's folder, one for each gated stage, two for each bagged or refit one.

    Raises:
        ActionRecError: the folder has no gated runs.
    """
    stages = {stage: runs for stage in sorted(folder.glob("*")) if (runs := _finished(stage))}
    if not stages:
        raise ActionRecError(
            f"{folder} has no gated runs; train them by actionrec chain upto=<the chain's gated variant>"
        )
    rows = []
    for stage, runs in stages.items():
        found = [_measured(run) for run in runs]
        alike = [networks for networks in found[0].alone if all(networks in each.alone for each in found)]
        rows += [_row(stage, found, networks) for networks in alike]
    return rows


def _finished(stage: Path) -> list[Path]:
    """The gated runs of a stage's folder, without those that are not finished."""
    runs = [record.parent for record in sorted(stage.glob(f"split*/{folds.GATE}"))]
    return [run for run in runs if run.suffix not in WORKING_SUFFIXES]


def _row(stage: Path, found: list[Gated], networks: str) -> dict[str, Any]:
    single = np.concatenate([each.alone[networks][each.single] for each in found])
    fused = np.concatenate([each.fused for each in found])
    differences = fused.astype(float) - single
    streams = found[0].alone[networks]
    alone = {stream: np.concatenate([each.alone[networks][stream] for each in found]).mean() for stream in streams}
    sizes, source_of = sources([group for each in found for group in each.groups])
    sums = np.bincount(source_of, differences)
    drawn = np.random.default_rng(0).integers(len(sizes), size=(ROUNDS, len(sizes)))
    low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), (0.025, 0.975))
    choices = [each.chosen for each in found]
    controls = [kept for each in found for kept in each.dropped.values()]
    return {
        "data": stage.parent.name,
        "stage": stage.name,
        "runs": len(found),
        "n": len(differences),
        "sources": len(sizes),
        "networks": networks,
        "streams": ", ".join(f"{stream} {accuracy:.3f}" for stream, accuracy in alone.items()),
        "single": float(single.mean()),
        "gated": float(fused.mean()),
        "difference": float(differences.mean()),
        "low": float(low),
        "high": float(high),
        "chosen": ", ".join(f"{name} {choices.count(name)}" for name in sorted(set(choices))),
        "permuted dropped": f"{sum(controls)} of {len(controls)}",
    }


def _measured(run: Path) -> Gated:
    gate = json.loads((run / folds.GATE).read_text())
    checkpoint = read(run / "checkpoints" / "best.ckpt")
    parents = checkpoint["lineage"]["parents"]
    singles = {stream: Path(parent["path"]).parents[1] for stream, parent in parents.items()}
    members = checkpoint["hyper_parameters"].get("members", 1)
    then = manifest.read(run)
    kinds: dict[str, Callable[[Path], list[Path]]] = {}
    if members > 1:
        kinds[str(members)] = lambda single: folds.all_of(single)[:members]
    if then and then.settings.get("refit"):
        kinds[OF_ALL] = lambda single: [folds.fold_run(single, folds.ALL)]
    kinds[OWN] = lambda single: [single]
    fused = scores.load(run / scores.FILES["test"])
    alone = {
        networks: {stream: _right(_mean(runs_of(single), fused)) for stream, single in singles.items()}
        for networks, runs_of in kinds.items()
    }
    dropped = _controls(tuple(singles.items()))
    return Gated(run, gate["chosen"], _right(fused), alone, gate["single"], fused.groups, dropped)


def _mean(runs: list[Path], order: Scores) -> Scores:
    """The mean probabilities of several runs on the test, with the rows in the order of other scores."""
    _, *found = matched({"test": [order, *(scores.load(run / scores.FILES["test"]) for run in runs)]})["test"]
    return average({"test": found}).scores


def _right(found: Scores) -> np.ndarray:
    return found.logits.argmax(1).eq(found.labels).numpy()


@cache  # a gated and a bagged run have the same parents
def _controls(runs: tuple[tuple[str, Path], ...]) -> dict[str, bool]:
    """Whether the gate drops each stream once its scores are those of other clips; `runs` by the stream's name."""
    found = gating.held_out({name: folds.all_of(run) for name, run in runs})
    logits = {name: each.logits.numpy() for (name, _), each in zip(runs, found, strict=True)}
    labels, groups = found[0].labels.numpy(), found[0].groups
    order = np.random.default_rng(0).permutation(len(labels))
    dropped = {}
    for name in logits:
        permuted = [each[order] if other == name else each for other, each in logits.items()]
        gate = choose(np.stack(permuted), labels, groups, list(logits)).gate
        dropped[name] = not gate.weights[list(logits).index(name)]
    return dropped


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="outputs/<data>")
    try:
        print(table([row for folder in parser.parse_args().folders for row in measure(folder)]))
    except ActionRecError as error:
        sys.exit(f"error: {error}")
