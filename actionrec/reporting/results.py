"""What was measured, as tables."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev, variance
from typing import Any

from actionrec.experiment import measurement
from actionrec.experiment.measurement import Protocol
from actionrec.reporting.records import Outputs, Run
from actionrec.reporting.tables import Estimate, Table, few_sources

BY_SOURCE = "95 % intervals take the source video for the unit"
_ESTIMATES = {"top-1": "test/acc", "mean class": "test/acc_macro", "mAP": "test/map", "F1": "test/f1_macro"}


def runs_table(outputs: Outputs) -> Table:
    """A row for each finished run."""
    header = ("stage", "run", "n", "sources", *_ESTIMATES, "loss", "ECE", "views")
    rows = [
        (
            run.stage,
            run.name,
            run.samples,
            run.sources,
            *(estimate(run.metrics, tag) for tag in _ESTIMATES.values()),
            run.metrics.get("test/loss"),
            run.metrics.get("test/ece"),
            seen(run.protocol),
        )
        for run in outputs.runs
    ]
    note = (
        f"Of the test part: n clips or stills of as many source videos; {BY_SOURCE}. Top-1 is the "
        "share that is right, mean class its mean over the actions, loss the negative log-likelihood in nats, ECE the "
        "expected calibration error. Views: instants by crops that are averaged, the position of a frame, "
        "and precision. One row is one seed."
    )
    clips = [run.sources for run in outputs.runs if run.sources and not outputs.chain.is_stills(run.stage)]
    return Table("runs", "Runs", header, rows, noted(note, few_sources(min(clips, default=None))))


def measured_table(outputs: Outputs) -> Table | None:
    """Measurements of runs under other protocols than their own; None without any."""
    rows = [
        (
            each.run.stage,
            each.run.name,
            measurement.name(each.protocol),
            each.samples,
            *(estimate(each.metrics, tag) for tag in _ESTIMATES.values()),
            each.metrics.get("test/loss"),
        )
        for each in outputs.measured
    ]
    header = ("stage", "run", "views", "n", *_ESTIMATES, "loss")
    note = "By actionrec evaluate; views: instants by crops that are averaged, the position, the precision."
    return Table("measurements", "Measured in other ways", header, rows, note) if rows else None


def seen(protocol: Protocol | None) -> str:
    """How the samples of a measurement were seen, for a table."""
    if not protocol:
        return "not recorded"
    parts = measurement.views(protocol), protocol.get("position"), protocol.get("precision")
    return ", ".join(str(part) for part in parts if part)


def cost_table(outputs: Outputs) -> Table:
    """How large the networks are, and what their training took."""
    tags = ("parameters", "epochs", "fit_seconds")
    rows = [(run.stage, run.name, *(_whole(run.metrics.get(tag)) for tag in tags)) for run in outputs.runs]
    note = "Seconds of training and validation, on whatever machine it was."
    return Table("cost", "Size and training time", ("stage", "run", "parameters", "epochs", "seconds"), rows, note)


def short_lines(outputs: Outputs) -> list[tuple[str, ...]]:
    """The runs as a terminal shows them, under a header."""
    header = ("stage", "run", "test top-1", "mean class", "loss", "parameters", "seconds")
    forms = ("{:.3f}", "{:.3f}", "{:.3f}", "{:,.0f}", "{:.0f}")
    tags = ("test/acc", "test/acc_macro", "test/loss", "parameters", "fit_seconds")
    return [header] + [
        (
            run.stage,
            run.name,
            *(
                form.format(run.metrics[tag]) if tag in run.metrics else "–"
                for form, tag in zip(forms, tags, strict=True)
            ),
        )
        for run in outputs.runs
    ]


def crossval_table(outputs: Outputs) -> Table | None:
    """Mean and spread of each stage that has several runs: over splits, of each of which the mean over its seeds
    counts, and over the seeds within a split; None where no stage has several.
    """
    rows = []
    # Runs of other tags have other settings, and runs that were measured otherwise have other scores.
    alike: dict[tuple[str, str | None, str], list[Run]] = {}
    for run in outputs.runs:
        alike.setdefault((run.stage, run.tag, seen(run.protocol)), []).append(run)
    for (stage, tag_of_runs, views), runs_alike in alike.items():
        of_split: dict[int, list[Run]] = {}
        for run in runs_alike:
            if run.split is not None:
                of_split.setdefault(run.split, []).append(run)
        if sum(map(len, of_split.values())) < 2:
            continue
        seeds = sorted({run.seed for runs in of_split.values() for run in runs if run.seed is not None})
        row: list[Any] = [tagged(stage, tag_of_runs), ", ".join(map(str, sorted(of_split))), ", ".join(map(str, seeds))]
        for tag in ("test/acc", "test/acc_macro"):
            values = [[run.metrics.get(tag, math.nan) for run in runs] for runs in of_split.values()]
            row += spread(values)
        rows.append((*row, views))
    names = [f"{name}{part}" for name in ("top-1", "mean class") for part in ("", " sd of splits", " sd of seeds")]
    note = (
        "Of a split the mean over its seeds counts once. sd: standard deviation (n − 1), of the splits' means, and of "
        "seeds within a split, pooled."
    )
    header = ("stage", "splits", "seeds", *names, "views")
    return Table("crossval", "Over splits and seeds", header, rows, note) if rows else None


def spread(values: Sequence[Sequence[float]]) -> tuple[float, float | None, float | None]:
    """Of values by split and seed: mean of the splits' means, their standard deviation, and that within splits."""
    means = [fmean(each) for each in values]
    within = [variance(each) for each in values if len(each) > 1]
    return fmean(means), stdev(means) if len(means) > 1 else None, math.sqrt(fmean(within)) if within else None


def estimate(row: dict[str, Any], tag: str) -> Estimate | float | None:
    """A metric, with its interval where there is one."""
    if tag not in row:
        return None
    low, high = row.get(f"{tag}_low"), row.get(f"{tag}_high")
    return float(row[tag]) if low is None or high is None else Estimate(row[tag], low, high)


def tagged(name: str, tag: str | None) -> str:
    """The name of a row of one tag's runs."""
    return f"{name} ({tag})" if tag else name


def noted(*parts: str) -> str:
    """Sentences one after the other, without the empty ones."""
    return " ".join(part for part in parts if part)


def _whole(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else round(value)


def present(tables: Iterable[Table | None]) -> list[Table]:
    """Those that there are and that have rows."""
    return [table for table in tables if table and table.rows]
