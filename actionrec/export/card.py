"""Model cards in Markdown: a network's kind, its training data, its measurements, and its limits.

A card repeats the lineage, the run's files and the measurements of the export, and adds no other statement.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import torch

from actionrec.export.comparison import BATCHES, Comparison
from actionrec.modules.exported import Description
from actionrec.prediction.reading import Reader
from actionrec.reporting.tables import few_sources, lines_of
from actionrec.runs import manifest, measurements
from actionrec.settings.untrusted import read_metrics
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256

TAGS = {"acc": "top-1", "acc_top5": "top-5", "acc_macro": "mean class accuracy", "f1_macro": "macro F1", "map": "mAP"}
WEAKEST = 3  # actions with the lowest recall
_SHOWN = {  # settings of the training by their label
    "optimiser": "optimizer._target_",
    "learning rate": "optimizer.lr",
    "schedule": "scheduler._target_",
    "epochs": "trainer.max_epochs",
    "batch": "data.batch_size",
    "augmentation": "data.augmentation",
}
_LONGEST = 500  # characters of a text from a file


@dataclass(frozen=True)
class Facts:
    """The content of a card.

    Args:
        file: the exported file, or the checkpoint.
        name: of the file.
        description: of the network.
        run: folder of the run; None for a checkpoint that lies elsewhere.
        exporter: that wrote the file; empty for a checkpoint.
        comparison: of the exported network with PyTorch's; None for a checkpoint.
        origin: of the samples of the comparison.
        figures: rows of the table of speed and of accuracy on the validation part, the header first.
    """

    file: Path
    name: str
    description: Description
    run: Path | None
    exporter: str = ""
    comparison: Comparison | None = None
    origin: str = ""
    figures: Sequence[Sequence[str]] = field(default_factory=list)


def compared(facts: Facts) -> str:
    """The outcome of the comparison with PyTorch, in a sentence."""
    found = facts.comparison
    assert found
    which = "float32 network that int8 was made from" if facts.description.precision == "int8" else "network"
    return (
        f"The logits of the {which}, exported with {facts.exporter}, differ from PyTorch's by at most "
        f"{found.difference:.2g}, {found.relative:.2g} of the largest one, at batches of "
        f"{', '.join(map(str, BATCHES))} ({facts.origin})."
    )


def text(facts: Facts) -> str:
    """The card.

    Raises:
        ActionRecError: a file of the run is damaged.
    """
    loader = jinja2.PackageLoader("actionrec.export")
    environment = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.undefined = jinja2.StrictUndefined
    environment.filters |= {"cell": cell, "stream": stream}
    said, run = facts.description, facts.run
    numbers = read_metrics(run / "metrics.json") if run and (run / "metrics.json").is_file() else {}
    return environment.get_template("card.md").render(
        facts=facts,
        said=said,
        lineage=said.lineage,
        trained_on=len(said.lineage["trained_on"]),
        size=f"{facts.file.stat().st_size / 1e6:.1f} MB",
        digest=sha256(facts.file),
        settings=_settings(run),
        parents=list(_parents(said.lineage)),
        tests=_tests(numbers),
        n=numbers.get("test/n"),
        sources=numbers.get("test/sources"),
        protocol=_protocol(run),
        limits=list(_limits(facts, numbers)),
        compared=compared(facts) if facts.comparison else "",
        figures=lines_of(facts.figures) if facts.figures else "",
        threads=torch.get_num_threads(),
    )


def cell(value: Any) -> str:
    """A value as Markdown shows it literally, in one line: neither markup nor the border of a table's cell."""
    flat = " ".join(str(value).split())[:_LONGEST]
    return re.sub(r"([\\`*\[\]<>|#&~$]|\b_|_\b)", r"\\\1", flat)


def stream(settings: Mapping[str, Any]) -> str:
    """The settings of a modality, such as `Flow: algorithm dis, fields 4`."""
    kind = str(settings["_target_"]).rpartition(".")[2]
    nested = [(key, value) for key, value in settings.items() if key != "_target_"]
    flat = [pair for key, value in nested for pair in (value.items() if isinstance(value, dict) else [(key, value)])]
    return f"{kind}{':' if flat else ''} {', '.join(f'{key} {value}' for key, value in flat)}".strip()


def _settings(run: Path | None) -> dict[str, Any]:
    """The settings of the training, and its code, as the run's manifest has them."""
    made = manifest.read(run) if run else None
    if not made:
        return {}
    chosen: dict[str, Any] = {key: made.choices[key] for key in ("experiment", "recipe") if key in made.choices}
    own = {label: str(made.settings[key]) for label, key in _SHOWN.items() if key in made.settings}
    own |= {label: own[label].rpartition(".")[2] for label in ("optimiser", "schedule") if label in own}
    return {**chosen, **own, "sha256 of all settings": made.hash, "commit": made.commit or "unknown"}


def _parents(lineage: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Role, place and sha256 of the checkpoints that the training started from, and of those above them."""
    for role, parent in lineage["parents"].items():
        yield f"{above}{role}", str(parent.get("path", "")), str(parent.get("sha256", ""))
        yield from _parents({"parents": {}, **parent}, f"{above}{role} ← ")


def _tests(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for tag, label in TAGS.items():
        value, low, high = (numbers.get(f"test/{tag}{bound}") for bound in ("", "_low", "_high"))
        if value is not None:
            interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
            rows.append((label, f"{value:.3f}{interval}"))
    return rows


def _protocol(run: Path | None) -> str:
    record = measurements.read(run) if run else {}
    return measurements.name(record["test"]) if "test" in record else ""


def _false_alarms(made: Mapping[str, Any]) -> str:
    if made.get("false_alarms") is None:
        return "videos of other actions were not measured"
    alarms = f"{made['false_alarms']:.1f} false alarms an hour"
    return f"{made['hours']:.3g} hours of videos of none of the actions have {alarms}"


def _limits(facts: Facts, numbers: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about the limits of the network, from its lineage and its figures."""
    said = facts.description
    yield f"It knows {len(said.actions)} actions, and has no answer for others."
    if said.calibration:
        yield (
            f"Answers of a probability below {said.calibration['threshold']:.3f} become none of these. The threshold "
            f"rejects at most {said.calibration['rate']:.1%} of the right answers on {said.calibration['n']} "
            f"validation samples; {_false_alarms(said.calibration)}."
        )
    else:
        yield "No threshold was fitted: every video gets one of these actions, whatever it shows."
    try:
        frames = Reader(said.inputs, said.views["segments"], said.views["crops"]).span
        if frames > 1:
            yield f"A sample needs {frames} frames; shorter videos are refused."
    except ActionRecError:
        yield "It sees optical flow that another program computed, and cannot be given videos alone."
    for name, stream in said.inputs["streams"].items():
        if "algorithm" in stream:
            yield f"The stream {name} needs flow of {stream['algorithm']} with the settings above, as it was trained."
    unused = [name for name in said.lineage["inputs"]["streams"] if name not in said.streams]
    if unused:
        yield f"The fusion gives no weight to {', '.join(unused)}, which the file leaves out."
    if few := few_sources(numbers.get("test/sources")):
        yield few
    yield from _weakest(numbers)
    if said.precision == "int8":
        yield "The test figures are of the network before the export, not of int8, which was measured on validation."
        yield "On x86 CPUs without VNNI (before about 2019), sums of int8 saturate, and answers may be others."
    if not numbers:
        yield "No test figures are known: the checkpoint does not lie in the folder of a run."


def _weakest(numbers: Mapping[str, Any]) -> Iterator[str]:
    rows = numbers.get("test/per_action")
    known = [
        row
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("recall"), float) and isinstance(row.get("n"), int)
    ]
    if worst := sorted(known, key=lambda row: row["recall"])[:WEAKEST]:
        listed = ", ".join(f"{row.get('action')} {row['recall']:.2f} of {row['n']}" for row in worst)
        yield f"Actions with the lowest recall on the test part: {listed}."
