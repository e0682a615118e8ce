"""The fit of a gated fusion to the scores of its streams' networks of all folds."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from actionrec.runs import folds
from actionrec.runs.measurements import require_same
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from torch import nn

    from actionrec.evaluation.scores import Scores

log = logging.getLogger(__name__)


def fit(network: "nn.Module", config: DictConfig) -> dict[str, Any]:
    """Fit a network's gate in place; returns a record of the candidates for `folds.GATE`.

    Args:
        network: of several streams, with the fusion `gated`.
        config: of the stage.

    Raises:
        ActionRecError: scores of a fold are missing, or folds do not hold out different clips.
    """
    import torch

    from actionrec.evaluation.gate import choose
    from actionrec.networks.fusions import Gated
    from actionrec.reporting.tables import lines_of

    fusion = network.fusion
    assert isinstance(fusion, Gated)
    runs = folds.of_parents(config)
    streams = held_out(runs)
    first = streams[0]
    choice = choose(
        torch.stack([each.logits for each in streams]).numpy(), first.labels.numpy(), first.groups, list(runs)
    )
    fusion.weights.copy_(torch.tensor(choice.gate.weights))
    fusion.temperatures.copy_(torch.tensor(choice.gate.temperatures))
    fusion.mixes.fill_(choice.gate.mixes)
    rows = {
        name: {"loss": loss, "error": choice.errors[name], "accuracy": choice.accuracies[name]}
        for name, loss in choice.losses.items()
    }
    table = [
        ("candidate", "log-loss", "± to the single", "accuracy"),
        *((name, *(f"{row[key]:.3f}" for key in ("loss", "error", "accuracy"))) for name, row in rows.items()),
    ]
    log.info(
        "gate: %s, of %d clips of %d source videos; the weights are %s\n\n%s\n",
        *(choice.name, len(first.labels), len(set(first.groups))),
        ", ".join(f"{name} {weight:.2f}" for name, weight in zip(runs, choice.gate.weights, strict=True)),
        lines_of(table),
    )
    return {
        "chosen": choice.name,
        "single": list(runs)[choice.single],
        "streams": list(runs),
        **{key: getattr(choice.gate, key) for key in choice.gate._fields},
        "clips": len(first.labels),
        "sources": len(set(first.groups)),
        "worse": choice.worse,
        "candidates": rows,
    }


def held_out(runs: Mapping[str, Sequence[Path]]) -> "list[Scores]":
    """The scores of each stream on the validation clips of all its folds, with the rows of all in one order.

    Args:
        runs: of all folds, by stream; see `folds.all_of`.

    Raises:
        ActionRecError: see `fit`.
    """
    from actionrec.evaluation.fusion import matched

    return matched({"val": [_held_out(stream, each) for stream, each in runs.items()]})["val"]


def _held_out(stream: str, runs: Sequence[Path]) -> "Scores":
    import torch

    from actionrec.evaluation import scores

    for fold, run in enumerate(runs):
        if not (run / scores.FILES["val"]).is_file():
            raise ActionRecError(
                f"{run} has no {scores.FILES['val']}: model.fusion=gated needs the {stream} stream's network of fold "
                f"{fold}; train the stage by actionrec chain upto=<its name>, which trains the folds"
            )
    found = [scores.load(run / scores.FILES["val"]) for run in runs]
    require_same({f"{stream} fold {fold}": each.protocol for fold, each in enumerate(found)})
    names = [name for each in found for name in each.names]
    if len(set(names)) < len(names) or any(each.actions != found[0].actions for each in found):
        raise ActionRecError(
            f"the folds of the {stream} stream hold out the same clips, or have other actions; train them anew"
        )
    return found[0]._replace(
        names=names,
        logits=torch.cat([each.logits for each in found]),
        labels=torch.cat([each.labels for each in found]),
        groups=[group for each in found for group in each.groups],
    )
