"""The TEXT tab: what a run was told to do, and where its network comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from actionrec.callbacks.tensorboard import writer_of


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
    """A lineage (`modules.checkpoint.Lineage` as a dict) as Markdown: the run, and below it each of its ancestors."""
    inputs = ", ".join(f"{key} {value}" for key, value in lineage["inputs"].items())
    return "\n".join(
        [
            *_items(lineage, "this run", depth=0),
            "",
            f"Inputs: {inputs}.",
            "",
            f"Fitted to {len(lineage['trained_on'])} records, those of its ancestors included.",
            "",
            f"Actions: {', '.join(lineage['actions'])}.",
        ]
    )


def _items(lineage: Mapping[str, Any], role: str, depth: int) -> Iterator[str]:
    backbone = lineage["backbone"]
    backbones = [backbone] if "name" in backbone else backbone.values()  # one for each stream
    about = [
        f"data {lineage['data']}",
        f"split {lineage['split']}" if lineage["split"] is not None else "",
        f"seed {lineage['seed']}",
        f"{len(lineage['actions'])} actions",
        *dict.fromkeys(f"{each['name']} from {each['weights'] or 'random'} weights" for each in backbones),
        *(f"{package} {version}" for package, version in lineage["versions"].items()),
        f"`{lineage['path']}`, sha256 `{lineage['sha256']}`" if "sha256" in lineage else "",
    ]
    yield f"{'    ' * depth}- {role}: **{lineage['stage']}**, {', '.join(filter(None, about))}"
    for name, parent in lineage["parents"].items():
        yield from _items(parent, "starts from" if name == "parent" else f"its {name} stream", depth + 1)
