"""`python -m benchmarks.flow [part …]`: measure all parts but `accuracy`, which trains for two hours, or those named.

Figures go to `outputs/benchmarks/flow.json`.
"""

import argparse
import sys
from pathlib import Path

from actionrec.errors import ActionRecError
from benchmarks.common import keep, machine, table
from benchmarks.flow import accuracy, estimators, formats, memory, speed

PARTS = {
    "speed": speed.measure,
    "memory": memory.measure,
    "estimators": estimators.measure,
    "formats": formats.measure,
    "accuracy": accuracy.measure,
}


def main() -> None:
    """Measure, print the tables, and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow", description=__doc__)
    parts = f"what to measure, of {', '.join(PARTS)}; default all but accuracy"
    parser.add_argument("parts", nargs="*", metavar="part", help=parts)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds hmdb51_clips/, …")
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo/data/hmdb51"), help="clips of the demo set")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks/flow.json"))
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part} is no part; use {', '.join(PARTS)}")
    print(machine())
    for part in options.parts or [part for part in PARTS if part != "accuracy"]:
        try:
            figures, rows = PARTS[part](options)
        except ActionRecError as error:
            sys.exit(f"error: {error}")
        print(f"\n## {part}\n\n{table(rows)}\n")
        for key, value in figures.items():
            print(f"{key} {value}")
        keep(options.output, {**figures, part: rows})


if __name__ == "__main__":
    main()
