"""Reading of `outputs/<data>` into records; a file that does not load is noted as damage and left out."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actionrec.evaluation import metrics, scores
from actionrec.evaluation.scores import Scores
from actionrec.modules.checkpoint import read
from actionrec.reporting.records import Checkpoint, Damage, Fusion, Measured, Outputs, Run, Study, name_of
from actionrec.runs import folds, measurements
from actionrec.runs.folder import RunFolder
from actionrec.settings import chain as declared
from actionrec.settings import untrusted, values
from actionrec.settings.chain import ChainConfig
from actionrec.settings.messages import one_line
from actionrec.system.errors import ActionRecError
from actionrec.system.files import WORKING_SUFFIXES, sha256

CURVES = ("train/loss", "val/loss", "train/acc", "val/acc")

Curves = dict[str, list[tuple[int, float]]]


def read_outputs(folder: Path, trust: Sequence[str] = (), chain: ChainConfig | None = None) -> Outputs:
    """Read the runs, fusions, studies and searches under `outputs/<data>`.

    Args:
        folder: `outputs/<data>`.
        trust: modules of the user that checkpoints may name, see `untrusted.check_targets`.
        chain: chain of the runs' stages; None reads the chain that `actionrec chain` has written into the folder, or
            takes the default chain.
    """
    outputs = Outputs(folder, trust=trust)
    found = chain or outputs.attempt(folder / declared.NOTE, lambda path: declared.read(untrusted.read_config(path)))
    outputs = replace(outputs, chain=found or declared.load())
    # Networks outside the chain, such as hmdb51_two_stream_conv, have folders beside the chain's stages.
    others = {path.parents[1].name for path in folder.glob("*/split*/metrics.json")} - {*outputs.chain.stages}
    for stage in (*outputs.chain.stages, *sorted(others)):
        there = [each for each in folder.glob(f"{stage}/*") if each.is_dir() and each.name != folds.FOLDER]
        for path in sorted(there, key=_order):
            if path.suffix in WORKING_SUFFIXES:
                outputs.unfinished.append(path)
            elif run := _run(outputs, stage, path):
                outputs.runs.append(run)
                outputs.measured += _measured(outputs, run)
    for path in sorted(folder.glob("fusion/*/fusion.json")):
        if (rows := outputs.attempt(path, _fusion_rows)) is not None:
            outputs.fusions.append(Fusion(path.parent.name, rows))
    for path in sorted(folder.glob("sweeps/*/")):
        if (path / "study.json").is_file():
            outputs.studies += _study(outputs, path / "study.json", ("study.png",))
        elif any(path.glob("**/metrics.json")):
            outputs.unfinished.append(path)
    for path in sorted(folder.glob("search/*/search.json")):
        outputs.searches += _study(outputs, path, ("history.png", "importances.png"))
    return replace(outputs, chain=outputs.chain.as_run({run.stage for run in outputs.runs}))


def curves(run: Run) -> Curves:
    """A run's learning curves: (epoch, value) pairs by tag of `CURVES`; empty if there are no event files.

    Raises:
        ActionRecError: the event files cannot be read.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run.path / "tensorboard"
    if not any(folder.glob("events.*")):
        return {}
    try:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1}).Reload()
    except Exception as error:  # TensorBoard raises many types for truncated event files
        raise ActionRecError(f"{folder}: not event files ({one_line(error):.80})") from None
    there = set(events.Tags()["scalars"])
    # Values are kept by step, because a resumed run may log a step twice, of which the later value counts. The final
    # metrics are logged at the step of test/acc and are no part of a curve.
    end = {each.step for each in events.Scalars("test/acc")} if "test/acc" in there else set()
    logged = {
        tag: {each.step: each.value for each in events.Scalars(tag) if each.step not in end}
        for tag in CURVES
        if tag in there
    }
    steps = sorted(set().union(*logged.values()))
    epoch_of = {step: epoch for epoch, step in enumerate(steps, start=1)}
    return {
        tag: [(epoch_of[step], values[step]) for step in sorted(values)] for tag, values in logged.items() if values
    }


def _run(outputs: Outputs, stage: str, path: Path) -> Run | None:
    if not (path / "metrics.json").exists():
        if any(path.iterdir()):
            outputs.damaged.append(
                Damage(path, "no metrics.json; measure the run with actionrec evaluate, or train it again")
            )
        return None
    numbers = outputs.attempt(path / "metrics.json", _numbers) or {}
    found = outputs.attempt(path / scores.FILES["test"], scores.load)
    if found:
        try:
            numbers = _completed(numbers, found)
        except ActionRecError as error:
            outputs.damaged.append(Damage(path, str(error)))
    if "test/acc" not in numbers:
        outputs.damaged.append(Damage(path, "neither metrics.json nor scores.npz have test results; left out"))
        return None
    config = outputs.attempt(path / "config.yaml", untrusted.read_config)
    best = RunFolder(path).best
    checkpoint = outputs.attempt(best, lambda best: _checkpoint(best, outputs.trust, numbers))
    if not best.exists():
        outputs.damaged.append(
            Damage(best, "not there: the run's lineage is not known, and later stages cannot start from the run")
        )
    split, seed, tag = _split_seed_tag(path.name, config or {})
    record = outputs.attempt(path, measurements.read) or {}
    gate = outputs.attempt(path / folds.GATE, _gate)
    return Run(stage, path, split, seed, numbers, found, config, checkpoint, tag, record.get("test"), gate)


def _measured(outputs: Outputs, run: Run) -> Iterator[Measured]:
    for folder in sorted(run.path.glob(f"{measurements.FURTHER}/*/")):
        numbers = outputs.attempt(folder / "metrics.json", _numbers)
        record = outputs.attempt(folder, measurements.read) or {}
        found = outputs.attempt(folder / scores.FILES["test"], scores.load)
        if numbers and "test/acc" in numbers and "test" in record:
            yield Measured(run, record["test"], numbers, len(found.names) if found else None)


def _numbers(path: Path) -> dict[str, float]:
    content = untrusted.read_metrics(path)
    return {tag: value for tag, value in content.items() if type(value) in (int, float)}


def _completed(numbers: dict[str, float], found: Scores) -> dict[str, float]:
    """The numbers of `metrics.json`, with metrics that runs of earlier versions lack computed from the scores.

    Raises:
        ActionRecError: `metrics.json` and the scores have different accuracies.
    """
    measured = metrics.measure(found, "test")
    said = numbers.get("test/acc", measured["test/acc"])
    if not math.isclose(said, measured["test/acc"], abs_tol=1e-3):
        raise ActionRecError(f"metrics.json says test/acc {said:.3f}, scores.npz {measured['test/acc']:.3f}")
    # Intervals without the number of source videos are of an earlier version, and too narrow for few source videos.
    bounds = {"test/sources", *(f"test/{name}_{bound}" for name in metrics.HEADLINES for bound in ("low", "high"))}
    lacking = {} if bounds <= numbers.keys() else metrics.intervals(found, "test")
    return {**measured, **numbers, **lacking}


def _checkpoint(path: Path, trust: Sequence[str], numbers: Mapping[str, float]) -> Checkpoint:
    content = read(path, "checkpoint", trust)
    epoch, trained = content.get("epoch", 0) + 1, numbers.get("epochs")
    # Lightning has counted on in a checkpoint that is saved after the training, as of a run that keeps its last epoch.
    kept = min(epoch, trained) if isinstance(trained, int) else epoch
    return Checkpoint(sha256(path), kept, content["lineage"])


def _gate(path: Path) -> dict[str, Any]:
    content = untrusted.read_json(path)
    _GATE(content)
    if len(content["streams"]) != len(content["weights"]):
        raise ValueError(f"{len(content['streams'])} streams have {len(content['weights'])} weights")
    return content


def _fusion_rows(path: Path) -> list[dict[str, Any]]:
    rows = untrusted.read_json(path, list)
    for index, row in enumerate(rows):
        _ROW(row, f"row {index}")
        if not {"network", "test/acc"} <= row.keys() or type(row["network"]) is not str or row["test/acc"] is None:
            raise ValueError("not a table of fusions")
        for key in [key for key in row if key.startswith("test/") or key in ("difference", "low", "high", "p")]:
            _NUMBER(row[key], key)
        if "difference" in row and None in (row["difference"], row.get("low"), row.get("high")):
            raise ValueError(f"row {index} has a difference without its interval")
    return rows


def _study(outputs: Outputs, path: Path, pictures: tuple[str, ...]) -> list[Study]:
    def read_rows(path: Path) -> dict[str, Any]:
        content = untrusted.read_json(path)
        values.list_of(_ROW, longest=100_000)(content["rows"], "rows")
        for row in content["rows"]:
            for key in [key for key in row if f"{key} sd" in row or key.endswith((" sd", " low", " high"))]:
                _NUMBER(row[key], key)
            if any((row[key] is None) != (row.get(f"{key[:-4]} high") is None) for key in row if key.endswith(" low")):
                raise ValueError("a row has half an interval")
        for key in ("title", "name", "stage", "note"):
            if content.get(key) is not None:
                values.text(10_000, resolved=False)(content[key], key)
        return content

    content = outputs.attempt(path, read_rows)
    there = [path.parent / name for name in pictures if (path.parent / name).is_file()]
    return [] if content is None else [Study(path.parent.name, content, there)]


_NUMBER = values.optional(values.number(-1e15, 1e15))
_VALUE = values.either(values.one_of(True, False), _NUMBER, values.text(10_000, resolved=False))
_TEXT = values.text(1000, resolved=False)
_VALUES = values.either(_VALUE, values.list_of(_VALUE), values.mapping_of(_TEXT, _VALUE))
_JUDGED = {key: values.number(-1e15, 1e15) for key in ("loss", "error", "accuracy")}
_GATE = values.table(
    {
        **{key: _TEXT for key in ("chosen", "single")},
        "streams": values.list_of(_TEXT, shortest=1),
        "weights": values.list_of(values.number(0, 1e15), shortest=1),
        **{key: values.anything for key in ("temperatures", "mixes", "worse")},
        **{key: values.integer(0) for key in ("clips", "sources")},
        "candidates": values.mapping_of(_TEXT, values.table(_JUDGED, tuple(_JUDGED))),
    },
    ("chosen", "single", "streams", "weights", "clips", "sources", "candidates"),
)
_ROW = values.mapping_of(_TEXT, _VALUES)


def _split_seed_tag(name: str, config: dict[str, Any]) -> tuple[int | None, int | None, str | None]:
    if said := name_of(name):
        return said
    split, seed = config.get("split"), config.get("seed")
    return split if type(split) is int else None, seed if type(seed) is int else None, None


def _order(path: Path) -> list[Any]:
    """Key for natural sorting of folders, with seed10 after seed9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
