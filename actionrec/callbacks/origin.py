"""TensorBoard's TEXT tab: a run's configuration and the lineage of its network."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from actionrec.callbacks.tensorboard import writer_of


class LogLineage(Callback):
    """Logs the composed configuration and the lineage at the start of the training.

    Args:
        config: file with the configuration.
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
    """A lineage (`modules.checkpoint.Lineage` as a dict) as a Markdown list: the run, with its ancestors indented."""
    inputs = ", ".join(f"{key} {value}" for key, value in lineage["inputs"].items())
    return "\n".join(
        [
            *_items(lineage, "this run", depth=0),
            "",
            f"Inputs: {inputs}.",
            "",
            f"Fitted to {len(lineage['trained_on'])} records, including the records of its ancestors.",
            "",
            f"Actions: {', '.join(lineage['actions'])}.",
        ]
    )


def _items(lineage: Mapping[str, Any], role: str, depth: int) -> Iterator[str]:
    backbone = lineage["backbone"]
    backbones = [backbone] if "name" in backbone else backbone.values()  # earlier versions had one, without a stream
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
