"""`python -m actionrec.import_flow source=<folder> flow.bound=<pixels>`: take others' flow into the store."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from actionrec.cli import plain, verb
from actionrec.extract_flow import clips_of, conclude, worker_count


def import_flow(config: DictConfig) -> None:
    """Import what the store lacks of the flow of every clip on disk of the chosen actions."""
    from actionrec.datasets.records import require_folder
    from actionrec.flow.extract import fill
    from actionrec.flow.imported import picture_fields
    from actionrec.flow.store import FlowSettings

    source, store = Path(config.source), Path(config.paths.flow)
    require_folder(source, "source")
    settings = FlowSettings(**plain(config.data)["flow"])
    pictures = partial(picture_fields, root=source)
    conclude(fill(clips_of(config), store, settings, worker_count(config), pictures), store)


main = verb("import_flow")(import_flow)

if __name__ == "__main__":
    main()
