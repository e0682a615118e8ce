"""Comparison of one chain's networks: pairwise differences, recall by action, calibration."""

import itertools
import math
from collections.abc import Callable

from actionrec.evaluation.metrics import BINS, per_action, reliability
from actionrec.evaluation.significance import compare
from actionrec.reporting.chain import Chain
from actionrec.reporting.records import Run
from actionrec.reporting.results import BY_SOURCE, estimate, noted, seen, tagged
from actionrec.reporting.tables import Estimate, Table, cell, few_sources
from actionrec.runs import measurements
from actionrec.system.errors import ActionRecError

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


def fused(chain: Chain) -> Run | None:
    """The run of the last stage with several parents; None if there is no such run."""
    several = [name for name, stage in chain.config.stages.items() if len(stage.parents) > 1 and name in chain.runs]
    return chain.runs[several[-1]] if several else None


def networks(chain: Chain) -> dict[str, Run]:
    """The chain's runs on clips, in the order of the stages."""
    return {name: chain.runs[name] for name in chain.config.clips if name in chain.runs}


def better_stream(chain: Chain) -> Run | None:
    """The single stream with the highest validation accuracy, in a tie the one with the lower loss; None if unknown.

    The candidates are the streams of the fusion network, or without such a network all single streams on clips. As in
    `evaluation.fusion.better`, a selection by test accuracy would bias the comparison on the test part.
    """
    both = fused(chain)
    names = chain.config.stages[both.stage].parents.values() if both else chain.config.clips
    single = [name for name in names if len(chain.config.stages[name].parents) < 2]
    streams = [chain.runs[name] for name in single if name in chain.runs]
    if not all("val/acc" in run.metrics for run in streams):
        return None
    worth = [(run.metrics["val/acc"], -run.metrics.get("val/loss", math.inf)) for run in streams]
    return max(zip(worth, streams, strict=True), key=lambda each: each[0], default=(None, None))[1]


def comparison_table(chain: Chain, damage: Callable[[Run, str], None]) -> Table | None:
    """Pairwise comparison of the networks on clips; None if there is no pair to compare.

    Args:
        chain: the chain with the runs.
        damage: called with a run and a reason if two score files cannot be compared.
    """
    rows = []
    present = [*networks(chain).values()][::-1]
    for first, second in itertools.combinations(present, 2):
        if not (first.scores and second.scores):
            continue
        try:
            measurements.require_same({run.stage: run.protocol for run in (first, second)})
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
        f"On the same clips from {sources} source videos, {chain.name}; {BY_SOURCE}. McNemar's exact test assumes "
        "independent clips."
    )
    return Table("comparison", "Networks against each other", header, rows, noted(note, few_sources(sources)))


def headline(chain: Chain, comparison: Table | None, crossval: Table | None = None) -> list[str]:
    """Sentences about the accuracy of the chain's last stage, with the amount of data behind it.

    Args:
        chain: the chain with the runs.
        comparison: table of `comparison_table`.
        crossval: table of `results.crossval_table`; only rows with the last stage's tag and protocol are used.
    """
    last = next((chain.runs[name] for name in reversed(chain.config.stages) if name in chain.runs), None)
    if last is None:
        return ["There is no finished run."]
    top = estimate(last.metrics, "test/acc")
    value = f"{top.value:.3f} (95 % interval {top.low:.3f} to {top.high:.3f})" if isinstance(top, Estimate) else top
    stills = chain.config.is_stills(last.stage)
    size = f" on n = {last.samples:,} {'stills' if stills else 'clips'}" if last.samples else ""
    if last.sources and not stills:
        size += f" of {last.sources:,} source videos"
    lines = [f"{last.stage}, {chain.name}: top-1 {value}{size}. One seed."]
    if not stills and few_sources(last.sources):
        lines.append(few_sources(last.sources))
    better, both = better_stream(chain), fused(chain)
    count = len(chain.config.stages[both.stage].parents) if both else 0
    for first, second, difference, *_, p in comparison.rows if comparison and better else ():
        if not both or (first, second) != (both.stage, better.stage if better else None):
            continue
        verdict = "the interval holds zero, so neither is shown to be better"
        if difference.low > 0 or difference.high < 0:
            how = "better" if difference.low > 0 else "worse"
            verdict = f"on these clips {NUMBERS.get(count, count)} streams are {how} than one"
        chosen = "better" if count == 2 else "best"
        lines.append(
            f"Against {second}, the {chosen} stream on validation, that is {cell(difference).text} on the same clips "
            f"(McNemar p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'}): {verdict}."
        )
    for name, splits, seeds, mean, between, *_, views in crossval.rows if crossval else ():
        alike = (name, views) == (tagged(last.stage, last.tag), seen(last.protocol))
        if alike and between is not None:
            deviation = f"{cell(mean).text} ± {cell(between).text} (mean and standard deviation of the splits)"
            lines.append(f"{name} over splits {splits}, seeds {seeds}: top-1 {deviation}.")
    return lines


def actions_table(chain: Chain) -> Table | None:
    """Table of recall and F1 of each action, for the networks on clips."""
    found = {stage: run.scores for stage, run in networks(chain).items()}
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
    note = "n: number of test clips of the action. If there are few, one clip changes the recall a lot."
    return Table("actions", "Actions", header, rows, note)


def calibration_table(chain: Chain) -> Table | None:
    """Table of confidence and accuracy by bin, for every run of the chain with scores."""
    rows = [
        (stage, f"{row.low:.2f} to {row.high:.2f}", row.samples, row.confidence, row.accuracy)
        for stage, run in chain.runs.items()
        if run.scores
        for row in reliability(run.scores)
        if row.samples
    ]
    header = ("stage", "confidence", "n", "mean confidence", "accuracy")
    return Table("calibration", f"Calibration in {BINS} bins, without empty bins", header, rows) if rows else None
