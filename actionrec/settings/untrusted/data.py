"""Checks the settings of data in a file: of a data module, its data set and its streams."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actionrec.settings.untrusted import allowed
from actionrec.settings.untrusted.targets import ARGUMENT, NAME, check_target, target_with
from actionrec.settings.values import (
    MAX_SEED,
    Check,
    UnfitError,
    either,
    integer,
    list_of,
    mapping,
    mapping_of,
    number,
    one_of,
    optional,
    table,
    text,
)
from actionrec.system.errors import ActionRecError

ACTIONS = list_of(text(100), shortest=2, longest=10_000, distinct=True)
SEED = integer(0, MAX_SEED)
_PATH = text(4096)

# How the fields of a flow store were estimated; `params` holds the arguments of the estimator.
FLOW: dict[str, Check] = {
    "algorithm": text(200),
    "params": mapping_of(NAME, ARGUMENT),
    "bound": number(1e-6, 1e4),  # pixels
    "short_side": optional(integer(16, 10_000)),  # pixels
}
# A checkpoint's `inputs`, except `streams`. Version 1 kept the settings of flow beside the size.
INPUTS: dict[str, Check] = {
    "size": integer(1, 2048),
    "region": one_of("whole", "square"),
    "position": text(50),
    "flow": table(FLOW, ("algorithm",)),
    "fields": integer(1, 1000),
    "stride": integer(1, 1000),
    "representation": text(50),
}
STREAMS_OF_VERSION_1 = ("frame", "flow")

# Arguments of a data module, except its data set and its streams.
DATA: dict[str, Check] = {
    "actions": either(one_of("shared", "all"), ACTIONS),
    "strict": one_of(True, False),
    "size": INPUTS["size"],
    "region": INPUTS["region"],
    "batch_size": integer(1, 1 << 20),
    "num_workers": either(one_of("auto"), integer(0, 1024)),
    "crops": integer(1, 100),
    "cache": one_of(None, "ram"),
    "augmentation": text(50),
    "position": INPUTS["position"],
    "segments": integer(1, 1000),
    "fold": either(one_of("all"), integer(0, 4)),
    "sampler": one_of(None, "balanced"),
    "background": optional(_PATH),
}
# Arguments of a data set.
DATASET: dict[str, Check] = {
    "name": text(200),
    **dict.fromkeys(("root", "videos", "splits"), optional(_PATH)),
    "split": integer(0, 1000),
    "protocol": text(50),
    **dict.fromkeys(("csv", "split_file", "group_pattern"), optional(_PATH)),
    "seed": SEED,
}


def check_data(data: Any, where: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The `data` section of a file's settings, checked so that Hydra may make a data module from it.

    Args:
        data: as `read_config` returns it.
        where: the file, for the message.
        trust: see `check_targets`; data sets and streams may be classes of these modules.

    Raises:
        ActionRecError: a class is not on the allow-list of its place, or an argument is unknown or out of range.
    """
    try:
        mapping()(data, "data")
        check_target(data.get("_target_"), "data._target_", allowed.data_modules())
        section = data.get("dataset")
        mapping()(section, "data.dataset")
        if str(section.get("_target_")) in allowed.data_sets():
            table({**DATASET, "_target_": text()})(section, "data.dataset")
        target_with(allowed.data_sets, trust)(section, "data.dataset")
        streams = {key: value for key, value in data.items() if isinstance(value, dict) and key != "dataset"}
        mapping_of(NAME, stream(trust), 16)(streams, "data")
        table(DATA)({key: each for key, each in data.items() if key not in ("_target_", "dataset", *streams)}, "data")
    except UnfitError as error:
        raise ActionRecError(f"{where}: {error}") from None
    return data


def writes(stream: Any) -> bool:
    """Whether a part of a file's `data` is a stream that may write frames into its folder."""
    return isinstance(stream, dict) and "folder" in stream and stream.get("_target_") not in allowed.READERS


def stream(trust: Sequence[str]) -> Check:
    """A modality and its settings."""
    # Some of these numbers decide how many channels a network has; 10⁴ keeps its size bounded.
    scalar = either(one_of(None, True, False), number(-1e4, 1e4), _PATH)
    settings = target_with(allowed.modalities, trust, either(mapping_of(NAME, ARGUMENT), list_of(scalar), scalar))

    def check(value: Any, place: str = "") -> None:
        settings(value, place)
        if value.get("size") is not None:
            INPUTS["size"](value["size"], f"{place}.size")

    return check


def inputs(trust: Sequence[str]) -> Check:
    """A checkpoint's `inputs`: the size of a sample, its instant, and the modality of each stream, without folders."""
    settings = stream(trust)

    def check(value: Any, place: str = "") -> None:
        settings(value, place)
        if "folder" in value:
            raise UnfitError(f"{place}.folder: a checkpoint may not say where files are")

    return table({**INPUTS, "streams": mapping_of(NAME, check)})


def stream_names(inputs: Any) -> Sequence[str]:
    """The names of the streams in a checkpoint's `inputs`, which need not be checked yet."""
    streams = inputs.get("streams") if isinstance(inputs, Mapping) else None
    return tuple(streams) if isinstance(streams, Mapping) else STREAMS_OF_VERSION_1
