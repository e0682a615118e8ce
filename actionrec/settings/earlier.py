"""Translation of the settings of earlier versions' runs to those of this version.

Version 1 had a data module for each pair of a data set and a set of streams, a network for each of three sets of
streams, and their settings side by side. Unknown settings are left unchanged.
"""

from collections.abc import Iterable, Mapping
from typing import Any

# `_target_`s whose modules have moved, by old name.
MOVED = {
    "actionrec.hardware.create_trainer": "actionrec.system.hardware.create_trainer",
    "actionrec.tensorboard.TensorBoard": "actionrec.callbacks.tensorboard.TensorBoard",
    "actionrec.studies.Study": "actionrec.experiment.studies.Study",
    "actionrec.callbacks.EpochLine": "actionrec.callbacks.LogEpochLine",
    "actionrec.callbacks.LearningRate": "actionrec.callbacks.LogLearningRate",
    "actionrec.callbacks.Origin": "actionrec.callbacks.LogLineage",
    "actionrec.callbacks.RandomState": "actionrec.callbacks.SaveRngState",
    "actionrec.callbacks.Speed": "actionrec.callbacks.LogThroughput",
    "actionrec.callbacks.TrainingBatch": "actionrec.callbacks.LogFirstBatch",
    "actionrec.callbacks.Validation": "actionrec.callbacks.LogValidationImages",
}
_DATA = "actionrec.datamodules."
_MODULES = "actionrec.modules."
_STREAMS = {
    **{f"{_DATA}HMDB51FrameDataModule": ("frame",), f"{_DATA}HMDB51FlowDataModule": ("flow",)},
    **{f"{_DATA}HMDB51TwoStreamDataModule": ("frame", "flow"), f"{_DATA}Stanford40FrameDataModule": ("frame",)},
    **{f"{_MODULES}FrameModule": ("frame",), f"{_MODULES}FlowModule": ("flow",)},
    f"{_MODULES}TwoStreamModule": ("frame", "flow"),
}
_OF_SETS = {  # class, name and settings of the data sets
    "HMDB51": ("actionrec.datasets.hmdb51.HMDB51", "hmdb51", ("videos", "splits", "split")),
    "Stanford40": ("actionrec.datasets.stanford40.Stanford40", "stanford40", ("root", "protocol")),
}
_OF_FLOW = ("fields", "stride", "representation")
_SECTIONS = ("data", "model", "trainer", "logger", "dataset")


def renew(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings as this version would have written them; settings of this version are unchanged.

    Args:
        saved: plain types from a file, not checked yet.
    """
    found = {key: _moved(value) for key, value in saved.items()}
    data = found.get("data")
    if isinstance(data, dict) and "dataset" not in data and _is_known(data.get("_target_"), _DATA):
        found["data"] = _data(data)
        found["dataset"] = found["data"]["dataset"]
    model = found.get("model")
    if isinstance(model, dict) and _is_known(model.get("_target_"), _MODULES):
        found["model"] = _model(model)
    return found


def renew_flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for settings by dotted key, as in manifests."""
    nested: dict[str, Any] = {}
    rest = {}
    for key, value in settings.items():
        section, *parts = key.split(".")
        if section not in _SECTIONS or not parts:
            rest[key] = value
            continue
        node = nested.setdefault(section, {})
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                return dict(settings)  # a key below a value, which no version has written
        node[parts[-1]] = value
    return rest | dict(_flat(renew(nested)))


def _is_known(target: Any, package: str) -> bool:
    return isinstance(target, str) and target in _STREAMS and target.startswith(package)


def _moved(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    found = {key: _moved(value) for key, value in node.items()}
    target = found.get("_target_")
    return {**found, "_target_": MOVED[target]} if isinstance(target, str) and target in MOVED else found


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    streams = _STREAMS[data["_target_"]]
    target, name, settings = _OF_SETS["Stanford40" if "Stanford40" in data["_target_"] else "HMDB51"]
    seen: dict[str, Any] = {"frame": {"_target_": "actionrec.streams.Frame"}}
    if "frame_folder" in data:
        seen["frame"]["folder"] = data["frame_folder"]
    flow = data.get("flow")
    seen["flow"] = {"_target_": "actionrec.streams.Flow", **(flow if isinstance(flow, dict) else {})}
    seen["flow"] |= {key: data[key] for key in _OF_FLOW if key in data}
    if "flow_folder" in data:
        seen["flow"]["folder"] = data["flow_folder"]
    old = ("_target_", *settings, *_OF_FLOW, "flow", "frame_folder", "flow_folder")
    return {
        "_target_": f"{_DATA}create",
        "dataset": {"_target_": target, "name": name, **{key: data[key] for key in settings if key in data}},
        **{key: value for key, value in data.items() if key not in old},
        **{stream: seen[stream] for stream in streams},
    }


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    streams = _STREAMS[model["_target_"]]
    old = {"backbone": streams[0], **{f"{stream}_backbone": stream for stream in streams}}
    if not any(key in model for key in old):  # of this version
        return dict(model)
    found = {key: value for key, value in model.items() if key not in old}
    backbones = {old[key]: {"backbone": value} for key, value in model.items() if key in old}
    return {**found, **backbones, "_target_": f"{_MODULES}create"}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
