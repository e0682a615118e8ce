"""Settings that a run has kept, put back into a configuration; the command line has the last word.

A run's `config.yaml` is data: only values are taken from it, never interpolations, and `_target_`s only after
`untrusted.check_targets`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from actionrec.experiment import manifest
from actionrec.settings.untrusted import check_data, check_targets, read_config, writes
from actionrec.system.errors import ActionRecError

# What a measurement takes from the run that it measures: how samples are read and seen. Networks come from checkpoints.
MEASURED = ("paths", "flow", "recipe", "split", "seed", "views", "dataset", "data")
# What `run_again` takes: all that decides a result, and the places.
TRAINED = (
    *("stage", "paths", "flow", "backbone", "optimizer", "scheduler", "recipe", "split", "seed", "views", "dataset"),
    *("data", "model", "trainer", "init_from", "compile", "cache_features", "objective"),
)
_WHOLE = ("params", "compile")  # mappings whose keys belong together, such as the arguments of one flow estimator
_COMPILE = ("fullgraph", "dynamic", "mode")  # of torch.compile's arguments, those that are plain choices
_OWN = ("_target_", "dirpath")  # of callbacks: today's
COMPOSED = (
    "experiment",
    "recipe",
    "backbone",
    "optimizer",
    "scheduler",
    "flow",
    "dataset",
)  # groups whose options a run keeps
SPLIT_FILE = "${paths.outputs}/${paths.name}/split-seed${dataset.seed}.csv"  # as in conf/dataset/folder.yaml
_GLOBAL = ("experiment", "recipe", "sweep")  # config groups that write anywhere


def for_measurement(config: DictConfig, run: Path, trust: Sequence[str]) -> None:
    """Give a composed configuration the data settings of a finished run, in place.

    Args:
        config: composed for the run's stage.
        run: the folder of the run.
        trust: see `for_training`.

    Raises:
        ActionRecError: the run's `config.yaml` is damaged, or asks for another class than the stage's.
    """
    path = run / "config.yaml"
    saved = read_config(path)
    own = str(config.data._target_)  # of conf/ or the command line, which may name a class of the user's
    check_targets(saved, path, [*trust, *({own.partition(".")[0]} - {"actionrec"})])
    data = _section(saved, "data")
    kind = data.get("_target_")
    if kind != own or ("position" in data) != ("position" in config.data):
        raise ActionRecError(f"{path} is of data {kind}, this stage's are {own}; choose the run's experiment")
    if own.startswith("actionrec."):
        check_data(data, path, trust)
    taken = {key: saved[key] for key in MEASURED if key in saved}
    # A stranger's run does not say where files are written here.
    taken["paths"] = _without(_section(saved, "paths"), ("outputs", "frames"))
    taken |= _with_own_places(data)
    _drop_streams(config, data)
    _put_back(config, taken)


def for_training(config: DictConfig, run: Path, trust: Sequence[str]) -> DictConfig:
    """The configuration of a run, composed anew from the options that its manifest names, with its values.

    Args:
        config: composed from the command line alone.
        run: the folder of the run.
        trust: modules whose classes the run's settings may name, beside this package's, torch's and Lightning's.

    Raises:
        ActionRecError: there is no `config.yaml`, or it names what is not allowed.
    """
    saved = read_config(run / "config.yaml")
    check_targets(saved, run / "config.yaml", trust)
    for name in ("paths", "data", "model", "trainer", "callbacks"):
        if not isinstance(saved.get(name), dict):
            raise ActionRecError(f"{run / 'config.yaml'} has no {name}; it is not the configuration of a run")
    then = manifest.read(run)
    choices = {"experiment": str(saved.get("stage")), **(then.choices if then else {})}
    options = [f"{group}={choices[group]}" for group in COMPOSED if re.fullmatch(r"[\w-]+", choices.get(group, ""))]
    given = list(HydraConfig.get().overrides.task)
    if asked := given_choice("recipe") or given_choice("experiment"):
        raise ActionRecError(f"run_again={run} has an experiment and a recipe of its own; leave {asked} out")
    config = compose(HydraConfig.get().job.config_name, [*options, *given])
    with open_dict(config):
        config.run_again = str(run)
    callbacks = {name: node for name, node in saved["callbacks"].items() if isinstance(node, dict)}
    if unknown := sorted(set(callbacks) - {*config.callbacks, "progress"}):
        raise ActionRecError(
            f"run_again={run} had callbacks of its own ({', '.join(unknown)}); add them with +callbacks.…"
        )
    taken = {key: saved[key] for key in TRAINED if key in saved}
    if isinstance(taken.get("compile"), dict):  # the others name programs and modules
        taken["compile"] = {key: taken["compile"][key] for key in _COMPILE if key in taken["compile"]} or True
    if not _lies_where_it_says(run, saved["paths"]):
        # The folder was moved, or is a stranger's, who does not say where files are written here.
        taken["paths"] = _without(saved["paths"], ("outputs", "frames"))
        taken |= _with_own_places(saved["data"])
    taken["trainer"] = _without(saved["trainer"], ("default_root_dir", "_target_"))
    taken["callbacks"] = {
        name: {key: value for key, value in node.items() if key in config.callbacks[name] and key not in _OWN}
        for name, node in callbacks.items()
        if name in ("best", "early_stopping") and name in config.callbacks
    }
    _drop_streams(config, saved["data"])
    _put_back(config, taken)
    with open_dict(config):
        if "early_stopping" not in callbacks:
            config.callbacks.pop("early_stopping", None)
    if not {"run_dir", "paths", "paths.outputs", "paths.name"} & set(given_keys()):
        config.run_dir = f"{run}-{config.tag}" if config.tag else str(run)
    return config


def _section(saved: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A group of settings; empty where a file has something else in its place."""
    return saved[name] if isinstance(saved.get(name), dict) else {}


def _lies_where_it_says(run: Path, paths: Mapping[str, Any]) -> bool:
    """Whether a run is below the outputs of its own settings, and so are the frames that it would write.

    A run lies at `<outputs>/<data>/<stage>/<name>`, a job at `<outputs>/<data>/sweeps/<sweep>/<name>`.
    """
    outputs, frames = (Path(str(paths.get(key))).resolve() for key in ("outputs", "frames"))
    return outputs in run.resolve().parents[2:4] and outputs in frames.parents


def _with_own_places(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections `data` and `dataset` of a run, which write where `paths` says here and not where the run says.

    A split that is there is only read.
    """
    streams = {key: {**value, "folder": "${paths.frames}"} for key, value in data.items() if writes(value)}
    found = {"data": {**_without(data, ("dataset",)), **streams}}
    if isinstance(data.get("dataset"), dict):
        found["dataset"] = data["dataset"]
        if "split_file" in data["dataset"] and not Path(str(data["dataset"]["split_file"])).is_file():
            found["dataset"] = _without(data["dataset"], ("split_file",)) | {"split_file": SPLIT_FILE}
    return found


def _drop_streams(config: DictConfig, data: Mapping[str, Any]) -> None:
    """Take streams out of a configuration, in place, that a run's data do not have."""
    with open_dict(config):
        for name in [name for name in config.data if name not in data and _is_stream(config, str(name))]:
            config.data.pop(name)
            if isinstance(config.get("model"), DictConfig):
                config.model.pop(name, None)


def _is_stream(config: DictConfig, name: str) -> bool:
    return name != "dataset" and isinstance(OmegaConf.select(config, f"data.{name}"), DictConfig)


def _without(values: Mapping[str, Any], left_out: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in left_out}


def _put_back(config: DictConfig, saved: Mapping[str, Any]) -> None:
    given = _given(config)
    with open_dict(config):
        leaves = list(_leaves(config, saved))
        for path, value in leaves:
            if not _interpolated(config, path):
                OmegaConf.update(config, path, value, merge=False, force_add=True)
        # Where an interpolation of today gives what the run had, it stays, so that it follows the command line.
        for path, value in leaves:
            if _interpolated(config, path) and value_at(config, path) != value:
                OmegaConf.update(config, path, value, merge=False, force_add=True)
        for path, value in given.items():
            OmegaConf.update(config, path, value, merge=False, force_add=True)


def _leaves(config: DictConfig, saved: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted path; those of `_WHOLE` are one value."""
    for key, value in saved.items():
        path = f"{prefix}{key}"
        node = OmegaConf.select(config, path, throw_on_missing=False)
        whole = key in _WHOLE or _interpolated(config, path)  # such as a model's optimiser, which is the group's
        if isinstance(value, dict) and isinstance(node, DictConfig):
            # Arguments of one class are not another's.
            whole = whole or value.get("_target_", node.get("_target_")) != node.get("_target_")
        if isinstance(value, dict) and isinstance(node, DictConfig) and not whole:
            yield from _leaves(config, value, f"{path}.")
        else:
            yield path, value


def _interpolated(config: DictConfig, path: str) -> bool:
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and key in node and OmegaConf.is_interpolation(node, key)


def _given(config: DictConfig) -> dict[str, Any]:
    """The nodes that the command line has set, by path."""
    return {
        key: value_at(config, key)
        for key in given_keys()
        if OmegaConf.select(config, key, default=config) is not config
    }


def value_at(config: DictConfig, key: str) -> Any:
    """A setting or a group of settings as plain types, interpolations resolved; None where it is not there."""
    node = OmegaConf.select(config, key, throw_on_missing=False)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def given_keys() -> list[str]:
    """Keys and groups that the command line sets, but for groups that write anywhere."""
    keys = [override.key_or_group.replace("/", ".") for override in _overrides() if not override.is_delete()]
    return [key for key in dict.fromkeys(keys) if key not in _GLOBAL]


def given_choice(group: str) -> str | None:
    """The option of a config group that the command line names; None where it names none."""
    named = [override.value() for override in _overrides() if override.key_or_group == group]
    return str(named[-1]) if named else None


def _overrides() -> list[Override]:
    """The overrides of the command line; none outside of one."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return OverridesParser.create().parse_overrides(list(given))
