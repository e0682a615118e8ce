"""`python -m actionrec.report`: the runs of one data set as a table."""

import json
from pathlib import Path

from omegaconf import DictConfig

from actionrec.cli import verb
from actionrec.errors import ActionRecError

STAGES = ("stanford40_frame", "hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream")
HEADER = ("stage", "run", "test top-1", "mean class", "loss", "parameters", "seconds")


def rows(folder: Path) -> list[tuple[str, ...]]:
    """A row of `HEADER` for each finished run under `outputs/<data>`, in the order of the chain."""
    found = []
    for stage in STAGES:
        for path in sorted(folder.glob(f"{stage}/*/metrics.json")):
            if path.parent.suffix:  # .partial: not finished
                continue
            metrics = json.loads(path.read_text())
            accuracies = (f"{metrics[tag]:.3f}" for tag in ("test/acc", "test/acc_macro", "test/loss"))
            size, seconds = f"{metrics['parameters']:,}", f"{metrics['fit_seconds']:.0f}"
            found.append((stage, path.parent.name, *accuracies, size, seconds))
    return found


def table(lines: list[tuple[str, ...]]) -> str:
    """Rows as a Markdown table, which also reads well in a terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = tuple("-" * width for width in widths)
    padded = [
        [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def report(config: DictConfig) -> None:
    """Print the table of the runs under `outputs/<data>`."""
    folder = Path(config.paths.outputs) / config.paths.name
    found = rows(folder)
    if not found:
        raise ActionRecError(f"no finished run under {folder}; train one, for example: make demo")
    print(table([HEADER, *found]))


main = verb("report")(report)

if __name__ == "__main__":
    main()
