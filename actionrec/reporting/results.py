"""What was measured, as tables."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev, variance
from typing import Any

from actionrec.evaluation.metrics import BINS, per_action, reliability
from actionrec.evaluation.significance import compare
from actionrec.experiment import measurement
from actionrec.experiment.measurement import Protocol
from actionrec.reporting.chain import Chain
from actionrec.reporting.gather import STAGES, Fusion, Outputs, Run, Study
from actionrec.reporting.tables import Estimate, Spread, Table, cell, few_sources
from actionrec.system.errors import ActionRecError

FRAME, FLOW, TWO_STREAM = STAGES[1:]
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
        f"Of the test part: n clips (stills in the first stage) of as many source videos; {BY_SOURCE}. Top-1 is the "
        "share that is right, mean class its mean over the actions, loss the negative log-likelihood in nats, ECE the "
        "expected calibration error. Views: instants by crops that are averaged, the position of a frame, "
        "and precision. One row is one seed."
    )
    clips = [run.sources for run in outputs.runs if run.sources and run.stage != STAGES[0]]
    return Table("runs", "Runs", header, rows, _noted(note, few_sources(min(clips, default=None))))


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
    for (stage, tagged, views), runs_alike in alike.items():
        of_split: dict[int, list[Run]] = {}
        for run in runs_alike:
            if run.split is not None:
                of_split.setdefault(run.split, []).append(run)
        if sum(map(len, of_split.values())) < 2:
            continue
        seeds = sorted({run.seed for runs in of_split.values() for run in runs if run.seed is not None})
        row: list[Any] = [_tagged(stage, tagged), ", ".join(map(str, sorted(of_split))), ", ".join(map(str, seeds))]
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


def better_stream(chain: Chain) -> Run | None:
    """That of frame and flow which has more of validation right, of equals the likelier; None where that is not known.

    As `evaluation.fusion.best_on_validation`: to choose it by the test would favour it there.
    """
    streams = [chain.runs[stage] for stage in (FRAME, FLOW) if stage in chain.runs]
    if not all("val/acc" in run.metrics for run in streams):
        return None
    worth = [(run.metrics["val/acc"], -run.metrics.get("val/loss", math.inf)) for run in streams]
    return max(zip(worth, streams, strict=True), key=lambda each: each[0], default=(None, None))[1]


def comparison_table(chain: Chain, damage: Callable[[Run, str], None]) -> Table | None:
    """Every two networks of the clips against each other; None where there are no two to compare.

    Args:
        chain: whose runs.
        damage: is told of two score files that do not go together.
    """
    rows = []
    present = [chain.runs[stage] for stage in (TWO_STREAM, FLOW, FRAME) if stage in chain.runs]
    for first, second in itertools.combinations(present, 2):
        if not (first.scores and second.scores):
            continue
        try:
            measurement.require_same({run.stage: run.protocol for run in (first, second)})
            found = compare(first.scores, second.scores)
        except ActionRecError as error:
            damage(first, f"not comparable with {second.stage}: {error}")
            continue
        difference = Estimate(found.difference, found.low, found.high, signed=True)
        rows.append((first.stage, second.stage, difference, found.only_first, found.only_second, found.p))
    header = ("network", "against", "top-1 difference", "only the first right", "only the second right", "McNemar p")
    if not rows:
        return None
    sources = max(run.sources or 0 for run in present)
    note = (
        f"On the same clips, of {sources} source videos, of {chain.name}; {BY_SOURCE}. McNemar's exact test takes "
        "clips for independent."
    )
    return Table("comparison", "Networks against each other", header, rows, _noted(note, few_sources(sources)))


def headline(chain: Chain, comparison: Table | None, crossval: Table | None = None) -> list[str]:
    """What the chain's last stage reached, in sentences that say of how much data.

    Args:
        chain: whose runs.
        comparison: of its networks.
        crossval: of all runs; the rows that count are of the chain's tag, and measured as its last stage is.
    """
    last = next((chain.runs[stage] for stage in (TWO_STREAM, FLOW, FRAME, STAGES[0]) if stage in chain.runs), None)
    if last is None:
        return ["There is no finished run."]
    top = estimate(last.metrics, "test/acc")
    value = f"{top.value:.3f} (95 % interval {top.low:.3f} to {top.high:.3f})" if isinstance(top, Estimate) else top
    stills = last.stage == STAGES[0]
    size = f" on n = {last.samples:,} {'stills' if stills else 'clips'}" if last.samples else ""
    if last.sources and not stills:
        size += f" of {last.sources:,} source videos"
    lines = [f"{last.stage}, {chain.name}: top-1 {value}{size}. One seed."]
    if not stills and few_sources(last.sources):
        lines.append(few_sources(last.sources))
    better = better_stream(chain)
    for first, second, difference, *_, p in comparison.rows if comparison and better else ():
        if (first, second) != (TWO_STREAM, better.stage if better else None):
            continue
        verdict = "the interval holds zero, so neither is shown to be better"
        if difference.low > 0 or difference.high < 0:
            verdict = f"on these clips two streams are {'better' if difference.low > 0 else 'worse'} than one"
        lines.append(
            f"Against {second}, the better stream on validation, that is {cell(difference).text} on the same clips "
            f"(McNemar p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'}): {verdict}."
        )
    for name, splits, seeds, mean, between, *_, views in crossval.rows if crossval else ():
        alike = (name, views) == (_tagged(last.stage, last.tag), seen(last.protocol))
        if alike and between is not None:
            deviation = f"{cell(mean).text} ± {cell(between).text} (mean and standard deviation of the splits)"
            lines.append(f"{name} over splits {splits}, seeds {seeds}: top-1 {deviation}.")
    return lines


def actions_table(chain: Chain) -> Table | None:
    """Recall of each action by the networks of the chain's clips."""
    found = {stage: chain.runs[stage].scores for stage in (FRAME, FLOW, TWO_STREAM) if stage in chain.runs}
    by_stage = {stage: {row["action"]: row for row in per_action(each)} for stage, each in found.items() if each}
    if not by_stage:
        return None
    first = next(iter(by_stage.values()))
    recalls = [[rows.get(action, {}).get("recall") for rows in by_stage.values()] for action in first]
    f1 = [[rows.get(action, {}).get("f1") for rows in by_stage.values()] for action in first]
    rows = [
        (action, first[action]["n"], *recall, *scores)
        for action, recall, scores in zip(first, recalls, f1, strict=True)
    ]
    header = ("action", "n", *(f"{stage} recall" for stage in by_stage), *(f"{stage} F1" for stage in by_stage))
    note = "n: test clips of the action. With few of them one clip moves a recall far."
    return Table("actions", "Actions", header, rows, note)


def calibration_table(chain: Chain) -> Table | None:
    """Confidence against accuracy in bins, for every run of the chain with scores."""
    rows = [
        (stage, f"{row.low:.2f} to {row.high:.2f}", row.samples, row.confidence, row.accuracy)
        for stage, run in chain.runs.items()
        if run.scores
        for row in reliability(run.scores)
        if row.samples
    ]
    header = ("stage", "confidence", "n", "mean confidence", "accuracy")
    return Table("calibration", f"Calibration in {BINS} bins; empty ones left out", header, rows) if rows else None


def fusion_table(fusion: Fusion) -> Table:
    """What `actionrec fuse` found; `against` of a row names the stream that its difference is from."""
    said = [row["against"] for row in fusion.rows if row.get("against")]
    without = [row["network"] for row in fusion.rows if "difference" not in row]
    against, part = (said or without or ["better stream"])[0], "validation" if said else "the test part itself"
    rows = [
        (
            row["network"],
            row.get("chosen") or "",
            estimate(row, "test/acc"),
            *(row.get(tag) for tag in ("test/acc_macro", "test/map", "test/loss")),
            Estimate(row["difference"], row["low"], row["high"], True) if "difference" in row else None,
            row.get("p"),
        )
        for row in fusion.rows
    ]
    header = (
        "network",
        "chosen on validation",
        "top-1",
        "mean class",
        "mAP",
        "loss",
        f"top-1 − {against}",
        "McNemar p",
    )
    note = f"Differences are from {against}, the better stream on {part}. {BY_SOURCE}."
    first = fusion.rows[0] if fusion.rows else {}
    if "test/sources" in first:
        note = f"n = {first['test/n']} clips of {first['test/sources']} source videos. {note}"
    note += " Margins of a support vector machine have no loss."
    return Table(
        f"fusion-{fusion.name}",
        f"Fusions of {fusion.name}",
        header,
        rows,
        _noted(note, few_sources(first.get("test/sources"))),
    )


def fusions_table(outputs: Outputs) -> Table | None:
    """Mean and spread of each fusion that was measured on several splits or seeds, as in `crossval_table`.

    Those of other tags are rows of their own; fusions whose folder has another name are of no split, and left out.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for fusion in outputs.fusions:
        if not (of := fusion.of):
            continue
        for row in fusion.rows:
            found.setdefault(_tagged(row["network"], of.tag), {}).setdefault(of.split, []).append(row["test/acc"])
    rows = [
        (network, len(of_split), *spread(list(of_split.values())))
        for network, of_split in found.items()
        if sum(map(len, of_split.values())) > 1
    ]
    header = ("network", "splits", "top-1", "top-1 sd of splits", "top-1 sd of seeds")
    note = "Each split has its own streams and its own choice on validation. Deviations as above."
    return Table("fusions", "Fusions over splits and seeds", header, rows, note) if rows else None


def study_table(kind: str, study: Study) -> Table:
    """The rows of a study or a search, all their keys as columns; `<key> sd`, `low` and `high` go with their key."""
    content = study.content
    found = list(dict.fromkeys(key for row in content["rows"] for key in row))
    beside = {f"{key} {part}" for key in found for part in _BESIDE}
    keys = [key for key in found if key not in beside]
    rows = [
        tuple(_measured(row, key) if f"{key} sd" in found else _simple(row.get(key)) for key in keys)
        for row in content["rows"]
    ]
    title = str(content.get("title") or content.get("name") or study.name)
    notes = [f"Stage {content['stage']}."] if content.get("stage") else []
    notes += [f"Best on validation: {_simple(content['best'])}."] if content.get("best") else []
    notes += [content["note"]] if content.get("note") else []
    return Table(f"{kind}-{study.name}", title, tuple(keys), rows, " ".join(notes))


def estimate(row: dict[str, Any], tag: str) -> Estimate | float | None:
    """A metric, with its interval where there is one."""
    if tag not in row:
        return None
    low, high = row.get(f"{tag}_low"), row.get(f"{tag}_high")
    return float(row[tag]) if low is None or high is None else Estimate(row[tag], low, high)


def _tagged(name: str, tag: str | None) -> str:
    return f"{name} ({tag})" if tag else name


def _noted(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _whole(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else round(value)


_BESIDE = ("sd", "low", "high")


def _measured(row: dict[str, Any], key: str) -> Spread | None:
    value = row.get(key)
    return None if value is None else Spread(value, *(row.get(f"{key} {part}") for part in _BESIDE))


def _simple(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(each).text for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(_simple(each)).text}" for key, each in value.items())
    return value


def present(tables: Iterable[Table | None]) -> list[Table]:
    """Those that there are and that have rows."""
    return [table for table in tables if table and table.rows]
