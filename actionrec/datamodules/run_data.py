"""The data module of a finished run, from the run's own settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from actionrec.datamodules.base import ActionDataModule
from actionrec.settings.messages import one_line
from actionrec.settings.untrusted import check_data, writes
from actionrec.system.errors import ActionRecError


def create(
    run: Path, data: Any, inputs: Mapping[str, Any], trust: Sequence[str] = (), **options: Any
) -> ActionDataModule:
    """Create the data module of a run, not set up, without loader processes, augmentation and cache.

    The folders that are read come from the run's `config.yaml`, the folders that are written do not: newly extracted
    frames go to `frames` beside the stages' folders.

    Args:
        run: folder of the run.
        data: the section `data` of its `config.yaml`, as `read_config` returns it.
        inputs: of the checkpoint's lineage.
        trust: modules of the user that the settings may name, see `untrusted.check_targets`.
        options: arguments of the data module that differ from the run's, such as `crops`.

    Raises:
        ActionRecError: the settings name classes or files that no file may name, or build no data module.
    """
    where = run / "config.yaml"
    said = check_data(data, where, trust)
    own, places = str(run.parents[1] / "frames"), {}
    for name in inputs["streams"]:
        there = said.get(name, {})
        places[name] = {"folder": own if writes(there) else there.get("folder")}
    streams = {name: {**settings, **places[name]} for name, settings in inputs["streams"].items()}
    dataset = dict(said["dataset"])
    if "split_file" in dataset and not Path(str(dataset["split_file"])).is_file():  # an existing file is only read
        dataset["split_file"] = str(run.parents[1] / f"split-seed{dataset.get('seed', 0)}.csv")
    settings = {
        **said,
        "dataset": dataset,
        **{"num_workers": 0, "augmentation": "none", "cache": None},
        **options,
        **{key: inputs[key] for key in inputs if key != "streams"},
        **streams,
    }
    try:
        return instantiate(settings, _convert_="all")
    except InstantiationException as error:
        raise ActionRecError(f"{where}: data: {one_line(error)}") from None
