"""Tables of fusions, studies and searches."""

from typing import Any

from actionrec.reporting.records import Fusion, Outputs, Run, Study
from actionrec.reporting.results import BY_SOURCE, estimate, noted, spread, tagged
from actionrec.reporting.tables import Estimate, Spread, Table, cell, few_sources

_BESIDE = ("sd", "low", "high")


def fusion_table(fusion: Fusion) -> Table:
    """Table of one `actionrec fuse`; `against` of a row is the stream that the fusion is compared with."""
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
    note = f"Differences are to {against}, the better stream on {part}. {BY_SOURCE}."
    first = fusion.rows[0] if fusion.rows else {}
    if "test/sources" in first:
        note = f"n = {first['test/n']} clips of {first['test/sources']} source videos. {note}"
    note += " A support vector machine has margins, not probabilities, and so no loss."
    return Table(
        f"fusion-{fusion.name}",
        f"Fusions of {fusion.name}",
        header,
        rows,
        noted(note, few_sources(first.get("test/sources"))),
    )


def fusions_table(outputs: Outputs) -> Table | None:
    """Mean and spread of each fusion that was measured on several splits or seeds, as in `crossval_table`.

    Each tag has rows of its own. A fusion whose folder name has no split and seed is left out.
    """
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for fusion in outputs.fusions:
        if not (of := fusion.of):
            continue
        for row in fusion.rows:
            found.setdefault(tagged(row["network"], of.tag), {}).setdefault(of.split, []).append(row)
    rows = [
        (
            network,
            len(of_split),
            *spread([[row["test/acc"] for row in runs] for runs in of_split.values()]),
            *_above(list(of_split.values())),
        )
        for network, of_split in found.items()
        if sum(map(len, of_split.values())) > 1
    ]
    header = (
        *("network", "splits", "top-1", "top-1 sd of splits", "top-1 sd of seeds"),
        *("top-1 − better stream", "intervals above 0"),
    )
    note = (
        "Streams are trained, and hyper-parameters selected on validation, for each split separately. Standard "
        "deviations as in the table over splits and seeds. Differences are to the stream that is better on validation "
        "in each run, and on the test in runs without validation scores."
    )
    return Table("fusions", "Fusions over splits and seeds", header, rows, note) if rows else None


def _above(splits: list[list[dict[str, Any]]]) -> tuple[float | None, str | None]:
    """Mean difference to the better stream, and in how many runs its interval is above 0; None of a stream itself."""
    rows = [row for runs in splits for row in runs]
    if any("difference" not in row for row in rows):
        return None, None
    mean, *_ = spread([[row["difference"] for row in runs] for runs in splits])
    return mean, f"{sum(row['low'] > 0 for row in rows)} of {len(rows)}"


def gates_table(outputs: Outputs) -> Table | None:
    """Table of the choice of each gated run; None if there is no gated run."""
    rows = [
        (
            run.stage,
            run.name,
            *_with_loss(run.gate, run.gate["chosen"]),
            *_with_loss(run.gate, _single(run.gate)),
            ", ".join(map("{} {:.2f}".format, run.gate["streams"], run.gate["weights"])),
            run.gate["clips"],
            run.gate["sources"],
        )
        for run in outputs.runs
        if run.gate
    ]
    header = ("network", "run", "chosen", "log-loss", "best stream", "log-loss of it", "weights", "n", "sources")
    note = (
        "Chosen on the training and validation clips, each scored by networks that were not trained on its source "
        "video, so neither the losses nor the choice know the test. A stream of weight 0 is not computed."
    )
    return Table("gates", "Gates", header, rows, note) if rows else None


def gate_table(run: Run) -> Table | None:
    """Table of the candidates of a run's gate, from simple to rich; None if the run has no gate."""
    if not run.gate:
        return None
    rows = [
        (name, name == run.gate["chosen"], judged["loss"], judged["error"], judged["accuracy"])
        for name, judged in run.gate["candidates"].items()
    ]
    header = ("candidate", "chosen", "log-loss", f"± of the difference to {_single(run.gate)}", "top-1")
    note = (
        f"On {run.gate['clips']:,} training and validation clips of {run.gate['sources']:,} source videos, as in the "
        "table of gates. From simple to rich, a candidate replaces the one before it if its loss is lower by more "
        "than a standard error, and the single stream if it is lower by two."
    )
    return Table(f"gate-{run.stage}", f"Candidates of {run.stage}, {run.name}", header, rows, note)


def _single(gate: dict[str, Any]) -> str:
    """Name of the candidate that is the best single stream."""
    return f"{gate['single']} alone"


def _with_loss(gate: dict[str, Any], name: str) -> tuple[str, float | None]:
    return name, gate["candidates"].get(name, {}).get("loss")


def study_table(kind: str, study: Study) -> Table:
    """Table of a study or a search with a column for each key; `<key> sd`, `low` and `high` join the column `<key>`."""
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


def _measured(row: dict[str, Any], key: str) -> Spread | None:
    value = row.get(key)
    return None if value is None else Spread(value, *(row.get(f"{key} {part}") for part in _BESIDE))


def _simple(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(each).text for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(_simple(each)).text}" for key, each in value.items())
    return value
