"""Studies: a table of the runs of a multirun."""

import csv
import io
import logging
import statistics
import sys
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from actionrec.runs import measurements
from actionrec.runs.folder import MULTIRUN, job_name
from actionrec.settings.messages import one_line
from actionrec.settings.rules import direction
from actionrec.settings.untrusted import read_metrics, read_overrides
from actionrec.system import locks
from actionrec.system.errors import ActionRecError
from actionrec.system.files import WORKING_SUFFIXES, atomic_path, write_json, write_text

log = logging.getLogger(__name__)

REPEATS = ("seed", "split")  # swept keys that a study averages over
PASSING = ("resume", "overwrite", "run_again", "trust")  # overrides of one command that do not identify a run
METRICS = ("val/acc", "test/acc", "test/acc_macro")  # metrics of a study beside the objective
BOUNDS = ("low", "high")  # suffixes of the intervals of the test metrics in metrics.json
NOTE = (
    "Mean ± standard deviation over runs (seeds, splits). Each run is measured on n test samples from the given number "
    "of source videos. In brackets the 95 % interval of one run, by source video."
)


class Swept(NamedTuple):
    """Overrides of a multirun: the values of the swept keys, and all other overrides by key."""

    values: dict[str, list[str]]
    fixed: dict[str, str]


class Study(Callback):
    """Writes `study.json`, `.csv`, `.md` and `.png` at the end of a multirun of trainings, and prints the table."""

    _held: ClassVar[Path | None] = None  # locked folder of this process's multirun

    def on_multirun_start(self, config: DictConfig, **rest: Any) -> None:
        """Write the varying keys to a file, for the names of the jobs, and put all jobs into one folder.

        The folder is locked until the end of the multirun, since a second multirun would change the names of the
        remaining jobs.
        """
        folder = Path(config.hydra.sweep.dir)
        try:
            self._hold(folder)
            write_json(folder / MULTIRUN, {"varying": sorted(_swept(config).values)})
        except (ActionRecError, OSError) as error:
            # Hydra would turn an exception here into a warning, and run the jobs.
            sys.exit(f"error: {one_line(error)}")
        # hydra.sweep.dir depends on the stage: without a fixed value, jobs of different stages would be separated.
        quoted = str(folder).replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")

    def on_multirun_end(self, config: DictConfig, **rest: Any) -> None:
        """Write the study; Hydra does not call this method if a job failed."""
        folder = Path(config.hydra.sweep.dir)
        try:
            swept = _swept(config)
            rows = study_rows(folder, swept, config.objective)
            if rows and swept.values:
                print(write(folder, config.sweep.name, config.sweep.title, rows, config.objective))
        finally:
            self._let_go()

    @staticmethod
    def _hold(folder: Path) -> None:
        """Lock the folder until `_let_go`, or until this process ends."""
        Study._let_go()  # a failed multirun of this process keeps its lock
        locks.acquire(folder, "the sweep in")
        Study._held = folder

    @staticmethod
    def _let_go() -> None:
        if Study._held is not None:
            locks.release(Study._held)
        Study._held = None


def _swept(config: DictConfig) -> Swept:
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    return parse([*params, *config.hydra.overrides.task])


def parse(overrides: Iterable[str]) -> Swept:
    """Separate swept from fixed overrides; if a key occurs twice, the last override counts, as in Hydra."""
    values: dict[str, list[str]] = {}
    fixed: dict[str, str] = {}
    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None  # the parser needs it to expand glob(…)
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
        key = override.key_or_group
        values.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            values[key] = [str(value) for value in override.sweep_string_iterator()]
        else:
            fixed[key] = override.get_value_element_as_str()
    return Swept(values, fixed)


def study_rows(folder: Path, swept: Swept, objective: str = "val/acc") -> list[dict[str, Any]]:
    """Rows of a study: one for each setting and protocol with finished runs, in the order of the sweep.

    A job counts once; if several folders hold the same job, the folder with the name of this sweep counts. A row has
    the values of the swept keys without `REPEATS`, and

    - `views`: name of the protocol; None if it is not recorded
    - `runs`: number of runs; `n`: number of test samples; `sources`: number of the samples' source videos
    - the objective and `METRICS`: mean over the runs, with the standard deviation `… sd` (None for one run) and, for
      test metrics, the bounds `… low` and `… high` of a run's 95 % interval (mean over the runs)
    - `values`: the test accuracy of each run
    """
    jobs: dict[tuple[str, ...], Path] = {}
    for path in sorted(folder.glob("*/overrides.yaml")):
        if path.parent.suffix in WORKING_SUFFIXES or not path.with_name("metrics.json").is_file():
            continue
        said = read_overrides(path)
        theirs = parse(said).fixed
        if not _belongs(theirs, swept):
            continue
        # A job's folder is named after the varying keys, so a sweep over fewer keys gives the same job another name.
        values = tuple(theirs[key] for key in swept.values)
        if values not in jobs or path.parent.name == job_name(said, list(swept.values), _tag(theirs)):
            jobs[values] = path.with_name("metrics.json")
    runs: dict[tuple[str, ...], dict[str | None, list[dict[str, Any]]]] = {}
    keys = [key for key in swept.values if key not in REPEATS]
    for values, metrics in jobs.items():
        setting = tuple(value for key, value in zip(swept.values, values, strict=True) if key in keys)
        protocol = measurements.read(metrics.parent).get("test")
        views = measurements.name(protocol) if protocol else None
        runs.setdefault(setting, {}).setdefault(views, []).append(read_metrics(metrics))
    order = [setting for setting in product(*(swept.values[key] for key in keys)) if setting in runs]
    return [
        {**dict(zip(keys, setting, strict=True)), "views": views, **_summary(alike, _metrics(objective))}
        for setting in order
        for views, alike in runs[setting].items()
    ]


def write(folder: Path, name: str, title: str, rows: list[dict[str, Any]], objective: str = "val/acc") -> str:
    """Write the rows of `study_rows` with a mark at the best row by the objective; returns the table."""
    from actionrec.evaluation import plots
    from actionrec.reporting.tables import Spread, cell, few_sources, lines_of

    metrics = _metrics(objective)
    keys = [key for key in rows[0] if key not in _summary_keys(metrics)]
    best = (min if direction(objective) == "min" else max)(rows, key=lambda row: row[objective])
    lines = [(*keys, "runs", "n", "sources", *metrics, "views", "")]
    for row in rows:
        spreads = (Spread(row[each], *(row.get(f"{each} {part}") for part in ("sd", *BOUNDS))) for each in metrics)
        measured = (cell(spread).text for spread in spreads)
        mark = "best on validation" if row is best and len(rows) > 1 else ""
        lines.append(
            (
                *(row[key] for key in keys),
                str(row["runs"]),
                str(row["n"] or "–"),
                str(row["sources"] or "–"),
                *measured,
                row["views"] or "not recorded",
                mark,
            )
        )
    text = lines_of(lines)
    note = " ".join(filter(None, (NOTE, few_sources(rows[0]["sources"]))))
    text += f"\n\n{note}"
    chosen = {key: best[key] for key in keys}
    found = {"name": name, "title": title, "by": keys, "best": chosen, "rows": rows, "note": note}
    write_json(folder / "study.json", found)
    write_text(folder / "study.md", f"{text}\n")
    lines_of_csv = io.StringIO()
    writer = csv.DictWriter(lines_of_csv, [field for field in rows[0] if field != "values"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "study.csv", lines_of_csv.getvalue())
    intervals = [[row[f"test/acc {bound}"] for bound in BOUNDS] for row in rows]
    # If the rows have different protocols, the labels in the plot name the protocols.
    ways = len({row["views"] for row in rows}) > 1
    labels = [
        ", ".join([*(row[key] for key in keys), *([row["views"] or "not recorded"] if ways else [])]) or name
        for row in rows
    ]
    with atomic_path(folder / "study.png") as temporary:
        temporary.write_bytes(plots.png(plots.study(title, labels, [row["values"] for row in rows], intervals)))
    return text


def _metrics(objective: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((objective, *METRICS)))


def _summary_keys(metrics: Iterable[str]) -> set[str]:
    """Keys of a row of `study_rows` beside the swept keys."""
    parts = {f"{metric}{part}" for metric in metrics for part in ("", *(f" {each}" for each in ("sd", *BOUNDS)))}
    return {"views", "runs", "n", "sources", "values"} | parts


def _belongs(theirs: Mapping[str, str], swept: Swept) -> bool:
    """Whether a run with these overrides belongs to the sweep."""
    others = {key: value for key, value in theirs.items() if key not in swept.values and key not in PASSING}
    fixed = {key: value for key, value in swept.fixed.items() if key not in PASSING}
    return others == fixed and all(theirs.get(key) in values for key, values in swept.values.items())


def _tag(theirs: Mapping[str, str]) -> str | None:
    tag = theirs.get("tag", "null").strip("'\"")
    return None if tag == "null" else tag


def _summary(runs: list[dict[str, Any]], metrics: Iterable[str]) -> dict[str, Any]:
    summary: dict[str, Any] = {"runs": len(runs), "n": sum(map(sum, runs[0].get("test/confusion", [])))}
    summary["sources"] = min((run["test/sources"] for run in runs if "test/sources" in run), default=None)
    for metric in metrics:
        values = [run[metric] for run in runs]
        summary[metric] = statistics.mean(values)
        summary[f"{metric} sd"] = statistics.stdev(values) if len(values) > 1 else None
        if metric.startswith("test/"):
            for bound in BOUNDS:
                summary[f"{metric} {bound}"] = statistics.mean(run[f"{metric}_{bound}"] for run in runs)
    return {**summary, "values": [run["test/acc"] for run in runs]}
