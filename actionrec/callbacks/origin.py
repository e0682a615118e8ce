"""The TEXT tab: what a run was told to do, and where its network comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from actionrec.tensorboard import writer_of


class Origin(Callback):
    """The composed configuration and the lineage, at the beginning.

    Args:
        config: file that holds the configuration.
    """

    def __init__(self, config: str):
        self.config = Path(config)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = writer_of(trainer)
        if not writer:
            return
        if self.config.is_file():
            writer.add_text("config", f"```yaml\n{self.config.read_text()}```")
        if lineage := getattr(pl_module, "lineage", None):
            writer.add_text("lineage", lineage_text(lineage))


def lineage_text(lineage: Mapping[str, Any]) -> str:
    """A lineage (`modules.checkpoint.Lineage` as a dict) as Markdown: a row for the run and each of its ancestors."""
    header = ("network", "data", "split", "seed", "actions", "backbone", "actionrec", "torch", "checkpoint", "sha256")
    rows = [header, ("---",) * len(header), *_rows(lineage, "")]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    inputs = ", ".join(f"{key} {value}" for key, value in lineage["inputs"].items())
    return (
        f"{table}\n\nInputs: {inputs}.\n\n"
        f"Fitted to {len(lineage['trained_on'])} records, those of its ancestors included.\n\n"
        f"Actions: {', '.join(lineage['actions'])}."
    )


def _rows(lineage: Mapping[str, Any], role: str) -> Iterator[tuple[str, ...]]:
    backbone, versions = lineage["backbone"], lineage["versions"]
    if "name" not in backbone:  # one for each stream
        backbone = next(iter(backbone.values()))
    yield (
        f"{role}{lineage['stage']}",
        lineage["data"],
        str(lineage["split"] or "–"),
        str(lineage["seed"]),
        str(len(lineage["actions"])),
        f"{backbone['name']} from {backbone['weights'] or 'random weights'}",
        versions["actionrec"],
        versions["torch"],
        f"`{lineage['path']}`" if "path" in lineage else "this run",
        f"`{lineage['sha256']}`" if "sha256" in lineage else "",
    )
    for name, parent in lineage["parents"].items():
        yield from _rows(parent, f"{role}{'' if name == 'parent' else f'{name} '}← ")
