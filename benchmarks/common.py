"""What the benchmarks share: data, medians, tables, and the file that keeps the figures."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actionrec import report
from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from actionrec.files import write_text
from actionrec.hardware import usable_cores


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


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    return report.table([tuple(rows[0]), *(tuple(_cell(value) for value in row.values()) for row in rows)])


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
