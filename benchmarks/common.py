"""Parts that the benchmarks share: data, processes, medians, tables, and the file that keeps the figures."""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import psutil
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from actionrec.datasets.records import Clip
from actionrec.reporting.tables import lines_of
from actionrec.settings.composition import CONF
from actionrec.system.errors import ActionRecError
from actionrec.system.files import write_text
from actionrec.system.hardware import usable_cores


def clips_under(folder: Path) -> list[Clip]:
    """Every `<action>/*.avi` of a folder."""
    clips = [Clip(path, path.parent.name, "") for path in sorted(folder.glob("*/*.avi"))]
    if not clips:
        raise ActionRecError(f"no <action>/*.avi under {folder}; name a folder with clips")
    return clips


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def median(values: Sequence[float]) -> float:
    """The median, rounded for a table."""
    return round(statistics.median(values), 4)


def fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a process of its own, which has neither the threads nor the memory of this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_as_usual, function, *arguments).result()


def _as_usual(function: Callable[..., Any], *arguments: Any) -> Any:
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    multiprocessing.set_start_method(None, force=True)  # a spawned process would spawn its loaders, too
    return function(*arguments)


def _end_with(parent: int) -> None:
    """Exit once the parent has ended, which a killed parent cannot see to."""
    wait([parent])
    os._exit(1)


def composed(name: str, *overrides: str) -> DictConfig:
    """The configuration `conf/<name>.yaml` with overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def run_verb(verb: str, overrides: Iterable[str]) -> None:
    """Run a verb.

    Raises:
        ActionRecError: it failed.
    """
    done = subprocess.run([sys.executable, "-m", "actionrec", verb, *overrides])
    if done.returncode:
        raise ActionRecError(f"actionrec {verb} failed; its output is above")


def megabytes(pid: int | None = None) -> float:
    """Memory of a process and all that it has started, of shared pages its share; of this process by default."""
    if not psutil.LINUX:
        raise ActionRecError("memory is measured on Linux only; name the other parts")
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:  # it has just ended
        pass
    return total / 1e6


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    return lines_of([tuple(rows[0]), *(tuple(_cell(value) for value in row.values()) for row in rows)])


def machine() -> str:
    """The machine and the versions that figures belong to."""
    packages = ("opencv-contrib-python-headless", "numpy", "torch")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{usable_cores()} cores ({_processor()}), Python {platform.python_version()}, {versions}"


def keep(path: Path, figures: dict[str, Any]) -> None:
    """Add figures to the file that keeps them; those of other parts of the benchmark stay."""
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({**earlier, **figures, "machine": machine()}, indent=2) + "\n")


Part = Callable[[argparse.Namespace], tuple[dict[str, float], list[dict[str, Any]]]]


def main(package: str, parts: Mapping[str, Part], unasked: Sequence[str]) -> None:
    """The command line of a benchmark: measure the parts that are named, print their tables, and keep the figures.

    Args:
        package: `benchmarks.<name>`; figures go to `outputs/benchmarks/<name>.json`.
        parts: by name, what measures figures and the rows of a table.
        unasked: those that take so long that they must be named.
    """
    name = package.rpartition(".")[2]
    usual = [part for part in parts if part not in unasked]
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=sys.modules["__main__"].__doc__)
    what = f"what to measure, of {', '.join(parts)}; default {', '.join(usual)}"
    parser.add_argument("parts", nargs="*", metavar="part", help=what)
    samples = Path(os.environ.get("ACTIONREC_SAMPLES", "data/samples"))
    parser.add_argument("--data", type=Path, default=samples, help="holds hmdb51_clips/, stanford40/, …")
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo/data/hmdb51"), help="clips of the demo set")
    parser.add_argument("--output", type=Path, default=Path(f"outputs/benchmarks/{name}.json"))
    options = parser.parse_args()
    for part in options.parts:
        if part not in parts:
            parser.error(f"{part} is no part; use {', '.join(parts)}")
    print(machine())
    for part in options.parts or usual:
        try:
            figures, rows = parts[part](options)
        except ActionRecError as error:
            sys.exit(f"error: {error}")
        print(f"\n## {part}\n\n{table(rows)}\n")
        for key, value in figures.items():
            print(f"{key} {value}")
        keep(options.output, {**figures, part: rows})


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _processor() -> str:
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()
