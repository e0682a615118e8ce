"""Samples that networks are compared on, quantised with and measured on."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actionrec.datamodules import run_data
from actionrec.datamodules.base import ActionDataModule, collate
from actionrec.datamodules.samples import ActionDataset
from actionrec.evaluation.scores import Scores, average_views
from actionrec.export.comparison import BATCHES
from actionrec.prediction import sources
from actionrec.prediction.reading import Reader, measure
from actionrec.settings.messages import is_users, one_line
from actionrec.settings.untrusted import read_config
from actionrec.streams import create_all
from actionrec.system.errors import ActionRecError

BATCH = 16  # samples of a batch
COMPARED = sum(BATCHES)  # samples
CALIBRATED = 256  # training samples that the ranges of int8 come from
log = logging.getLogger(__name__)


class Samples(NamedTuple):
    """A batch of `COMPARED` samples or fewer, (N, *shape) uint8 for each stream by name, and their origin."""

    batch: dict[str, Tensor]
    origin: str


def data_of(
    run: Path | None, lineage: Mapping[str, Any], views: Mapping[str, int], trust: Sequence[str]
) -> ActionDataModule | None:
    """The data module of a run, set up; None if there is no run or its data cannot be read, which the log says.

    Args:
        run: folder of the run.
        lineage: of its checkpoint.
        views: `segments` and `crops` of a measurement.
        trust: see `run_data.create`.
    """
    if run is None:
        return None
    try:
        said = read_config(run / "config.yaml").get("data")
        stills = "position" not in lineage["inputs"]
        own = {key: value for key, value in views.items() if not (stills and key == "segments")}
        options = {"actions": lineage["actions"], "batch_size": BATCH, **own}
        data = run_data.create(run, said, lineage["inputs"], trust, **options)
        data.setup()
        if not len(part_of(data, "val")):
            raise ActionRecError(f"{run} has no validation samples")
    except Exception as error:
        if not is_users(error):
            raise
        log.warning("the data of the run cannot be read: %s", one_line(error))
        return None
    return data


def part_of(data: ActionDataModule, part: str) -> ActionDataset:
    """The samples of a part as a test has them: all views, without augmentation."""
    assert data.splits is not None
    return data.dataset(getattr(data.splits, part), data.labels, "test")


def spread(dataset: ActionDataset, number: int) -> Iterator[dict[str, Any]]:
    """At most `number` samples, evenly spread over a data set, whose order is that of actions and source videos."""
    count = min(number, len(dataset))
    for index in range(count):
        yield dataset[index * len(dataset) // count]


def compared(
    data: ActionDataModule | None,
    source: str | Sequence[str] | None,
    lineage: Mapping[str, Any],
    views: Mapping[str, int],
    trust: Sequence[str],
) -> Samples:
    """Samples for a comparison: of `source`, else of the run's validation part, else random ones.

    Args:
        data: see `data_of`.
        source: the user's videos and images.
        lineage: of the checkpoint.
        views: see `data_of`.
        trust: see `feeds.create_feed`.

    Raises:
        ActionRecError: `source` has no file, or a file cannot be read.
    """
    inputs = lineage["inputs"]
    if source is not None:
        reader = Reader(inputs, views["segments"], views["crops"], trust)
        found = list(islice(_read(reader, source), COMPARED))
        return Samples(collate(found), f"{len(found)} samples of source")
    if data is not None:
        found = list(spread(part_of(data, "val"), COMPARED))
        return Samples(_tensors(collate(found), inputs), f"{len(found)} validation samples")
    shapes = {name: each.shape(inputs["size"]) for name, each in create_all(inputs).items()}
    generator = torch.Generator().manual_seed(0)
    batch = {
        name: torch.randint(0, 256, (COMPARED, *shape), dtype=torch.uint8, generator=generator)
        for name, shape in shapes.items()
    }
    return Samples(batch, f"{COMPARED} random samples, which are no pictures")


def _read(reader: Reader, source: str | Sequence[str]) -> Iterator[dict[str, Tensor]]:
    for path in sources.find(source, reader.of_stills):
        sources.check(path)
        if sources.is_image(path):
            found = reader.image(path)
        else:
            length = measure(path, math.inf)
            assert length
            found = reader.clip(path, length.frames)
        yield from (sample.inputs for sample in found)


def training_batches(data: ActionDataModule) -> Iterator[dict[str, Tensor]]:
    """Batches of `CALIBRATED` training samples or fewer, spread over the training part."""
    samples = spread(part_of(data, "train"), CALIBRATED)
    while chunk := list(islice(samples, BATCH)):
        yield _tensors(collate(chunk), data.inputs)


def validation_scores(
    networks: Mapping[str, Callable[[dict[str, Any]], Tensor]],
    data: ActionDataModule,
    tick: Callable[[int], None] = lambda number: None,
) -> dict[str, Scores]:
    """Scores of several networks on the validation part, by name; every sample is read once.

    Args:
        networks: batch → logits (B, K), by name.
        data: see `data_of`.
        tick: called with the number of samples of each batch.
    """
    names: list[str] = []
    labels: list[Tensor] = []
    logits: dict[str, list[Tensor]] = {name: [] for name in networks}
    for batch in data.scoring_dataloader("val"):
        names += batch["name"]
        labels.append(batch["label"])
        for name, network in networks.items():
            logits[name].append(network(batch).float())
        tick(len(batch["name"]))
    return {
        name: average_views(names, torch.cat(each), torch.cat(labels), data.actions, data.groups())
        for name, each in logits.items()
    }


def _tensors(batch: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: batch[name] for name in inputs["streams"]}
