"""Tables of the measurements of all runs."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev, variance
from typing import Any

from actionrec.reporting.records import Outputs, Run
from actionrec.reporting.tables import Estimate, Table, few_sources
from actionrec.runs import measurements
from actionrec.runs.measurements import Protocol

BY_SOURCE = "95 % intervals have the source video as their unit"
_ESTIMATES = {"top-1": "test/acc", "mean class": "test/acc_macro", "mAP": "test/map", "F1": "test/f1_macro"}


def runs_table(outputs: Outputs) -> Table:
    """Table with a row for each finished run."""
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
        f"Measured on the test part: n clips or stills from the given number of source videos; {BY_SOURCE}. Top-1: "
        "accuracy. Mean class: mean recall over the actions. Loss: negative log-likelihood in nats. ECE: expected "
        "calibration error. Views: segments by crops that are averaged, position of the frame, precision. Each row is "
        "one seed."
    )
    clips = [run.sources for run in outputs.runs if run.sources and not outputs.chain.is_stills(run.stage)]
    return Table("runs", "Runs", header, rows, noted(note, few_sources(min(clips, default=None))))


def measured_table(outputs: Outputs) -> Table | None:
    """Table of the measurements of runs with other protocols than the runs' own; None if there are none."""
    rows = [
        (
            each.run.stage,
            each.run.name,
            measurements.name(each.protocol),
            each.samples,
            *(estimate(each.metrics, tag) for tag in _ESTIMATES.values()),
            each.metrics.get("test/loss"),
        )
        for each in outputs.measured
    ]
    header = ("stage", "run", "views", "n", *_ESTIMATES, "loss")
    note = "Measured by actionrec evaluate. Views: segments by crops that are averaged, position, precision."
    return Table("measurements", "Measured in other ways", header, rows, note) if rows else None


def seen(protocol: Protocol | None) -> str:
    """Views and precision of a protocol, as a text for tables."""
    if not protocol:
        return "not recorded"
    parts = measurements.views(protocol), protocol.get("position"), protocol.get("precision")
    return ", ".join(str(part) for part in parts if part)


def cost_table(outputs: Outputs) -> Table:
    """Table of each network's number of parameters, epochs and training time."""
    tags = ("parameters", "epochs", "fit_seconds")
    rows = [(run.stage, run.name, *(_whole(run.metrics.get(tag)) for tag in tags)) for run in outputs.runs]
    note = "Seconds of training and validation; the machines of different runs may differ."
    return Table("cost", "Size and training time", ("stage", "run", "parameters", "epochs", "seconds"), rows, note)


def short_lines(outputs: Outputs) -> list[tuple[str, ...]]:
    """A header and a row for each run, for the terminal."""
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
    """Table of the mean and the spread of each stage with several runs; None if no stage has several runs.

    The mean and the standard deviation over splits are of each split's mean over its seeds. The standard deviation of
    seeds is pooled over the splits.
    """
    rows = []
    # Runs are grouped by tag and protocol, since other tags have other settings and other protocols other scores.
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
        "Each split counts once, with its mean over seeds. sd of splits: standard deviation (n − 1) of the splits' "
        "means. sd of seeds: standard deviation of the seeds within a split, pooled over splits."
    )
    header = ("stage", "splits", "seeds", *names, "views")
    return Table("crossval", "Over splits and seeds", header, rows, note) if rows else None


def spread(values: Sequence[Sequence[float]]) -> tuple[float, float | None, float | None]:
    """Mean of the splits' means, standard deviation of these means, and pooled standard deviation within splits.

    Args:
        values: for each split, the values of its seeds.
    """
    means = [fmean(each) for each in values]
    within = [variance(each) for each in values if len(each) > 1]
    return fmean(means), stdev(means) if len(means) > 1 else None, math.sqrt(fmean(within)) if within else None


def estimate(row: dict[str, Any], tag: str) -> Estimate | float | None:
    """A metric of a row, with its interval if the row has one; None if the row lacks the metric."""
    if tag not in row:
        return None
    low, high = row.get(f"{tag}_low"), row.get(f"{tag}_high")
    return float(row[tag]) if low is None or high is None else Estimate(row[tag], low, high)


def tagged(name: str, tag: str | None) -> str:
    """A name followed by the tag in parentheses, if there is a tag."""
    return f"{name} ({tag})" if tag else name


def noted(*parts: str) -> str:
    """Join the parts of a note that are not empty."""
    return " ".join(part for part in parts if part)


def _whole(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else round(value)


def present(tables: Iterable[Table | None]) -> list[Table]:
    """The tables that are not None and have rows."""
    return [table for table in tables if table and table.rows]
