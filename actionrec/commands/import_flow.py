"""`actionrec import_flow source=<folder> flow.bound=<pixels>`: import another program's flow into the flow store."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.experiment.extraction import clips_of, conclude, flow_of, worker_count


def import_flow(config: DictConfig) -> None:
    """Import the flow that the store lacks, of every clip on disk of the chosen actions."""
    from actionrec.datasets.records import require_folder
    from actionrec.flow.extract import fill
    from actionrec.flow.imported import picture_fields

    source = Path(config.source)
    require_folder(source, "source")
    settings, store = flow_of(config)
    pictures = partial(picture_fields, root=source)
    conclude(fill(clips_of(config), store, settings, worker_count(config), pictures), store)


main = command("import_flow")(import_flow)
