"""Copying of settings from a run's `config.yaml` into a composed configuration; the command line takes precedence.

A run's `config.yaml` is untrusted data: only values are copied, never interpolations, and `_target_`s only after
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

from actionrec.runs import manifest
from actionrec.settings.untrusted import check_data, check_targets, read_config, writes
from actionrec.system.errors import ActionRecError

# Groups that a measurement copies from its run: the reading of samples. The network comes from the checkpoint.
MEASURED = ("paths", "flow", "recipe", "split", "seed", "views", "dataset", "data")
# Groups that `run_again` copies: all settings that decide a result, and the paths.
TRAINED = (
    *("stage", "paths", "flow", "backbone", "optimizer", "scheduler", "recipe", "split", "seed", "views", "dataset"),
    *("data", "model", "trainer", "init_from", "compile", "refit", "cache_features", "objective"),
)
_WHOLE = ("params", "compile")  # mappings that are copied as a whole, such as the arguments of one flow estimator
_COMPILE = ("fullgraph", "dynamic", "mode")  # arguments of torch.compile that cannot name programs or modules
_OWN = ("_target_", "dirpath")  # settings of callbacks that are not copied
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
_GLOBAL = ("experiment", "recipe", "sweep")  # config groups of package _global_, which set keys of other groups


def for_measurement(config: DictConfig, run: Path, trust: Sequence[str]) -> None:
    """Copy the data settings of a finished run into a composed configuration, in place.

    Args:
        config: composed for the run's stage.
        run: the folder of the run.
        trust: see `for_training`.

    Raises:
        ActionRecError: the run's `config.yaml` is damaged, or names another data module than the stage's.
    """
    path = run / "config.yaml"
    saved = read_config(path)
    own = str(config.data._target_)  # from conf/ or the command line, which may name a class of the user
    check_targets(saved, path, [*trust, *({own.partition(".")[0]} - {"actionrec"})])
    data = _section(saved, "data")
    kind = data.get("_target_")
    if kind != own or ("position" in data) != ("position" in config.data):
        raise ActionRecError(f"{path} has data._target_={kind}, this stage has {own}; choose the run's experiment")
    if own.startswith("actionrec."):
        check_data(data, path, trust)
    taken = {key: saved[key] for key in MEASURED if key in saved}
    # A run of another user must not decide where files are written.
    taken["paths"] = _without(_section(saved, "paths"), ("outputs", "frames"))
    taken |= _with_own_places(data)
    _drop_streams(config, data)
    _put_back(config, taken)


def for_training(config: DictConfig, run: Path, trust: Sequence[str]) -> DictConfig:
    """Compose a configuration from the config group options in a run's manifest, with the values of the run.

    Args:
        config: composed from the command line alone.
        run: the folder of the run.
        trust: modules whose classes the run's settings may name, beside this package's, torch's and Lightning's.

    Raises:
        ActionRecError: `config.yaml` is missing, or names a class that is not allowed.
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
        raise ActionRecError(f"run_again={run} fixes experiment and recipe; leave {asked} out")
    if not given_choice("callbacks"):  # with `best` and `early_stopping`, of which the run's own are kept
        options.append("callbacks=default")
    config = compose(HydraConfig.get().job.config_name, [*options, *given])
    with open_dict(config):
        config.run_again = str(run)
    callbacks = {name: node for name, node in saved["callbacks"].items() if isinstance(node, dict)}
    if unknown := sorted(set(callbacks) - {*config.callbacks, "progress"}):
        raise ActionRecError(
            f"run_again={run} had further callbacks ({', '.join(unknown)}); add them with +callbacks.…"
        )
    taken = {key: saved[key] for key in TRAINED if key in saved}
    if isinstance(taken.get("compile"), dict):  # other arguments may name programs and modules
        taken["compile"] = {key: taken["compile"][key] for key in _COMPILE if key in taken["compile"]} or True
    if not _lies_where_it_says(run, saved["paths"]):
        # The folder was moved, or is of another user, whose run must not decide where files are written.
        taken["paths"] = _without(saved["paths"], ("outputs", "frames"))
        taken |= _with_own_places(saved["data"])
    taken["trainer"] = _without(saved["trainer"], ("default_root_dir", "_target_"))
    taken["callbacks"] = {
        name: {key: value for key, value in node.items() if key in config.callbacks[name] and key not in _OWN}
        for name, node in callbacks.items()
        if name in ("best", "early_stopping") and config.callbacks.get(name)
    }
    _drop_streams(config, saved["data"])
    _put_back(config, taken)
    with open_dict(config):
        for name in {"best", "early_stopping"} - {*callbacks}:
            config.callbacks.pop(name, None)
    if not {"run_dir", "paths", "paths.outputs", "paths.name"} & set(given_keys()):
        config.run_dir = f"{run}-{config.tag}" if config.tag else str(run)
    return config


def _section(saved: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A group of settings; empty if the file has a value of another type there."""
    return saved[name] if isinstance(saved.get(name), dict) else {}


def _lies_where_it_says(run: Path, paths: Mapping[str, Any]) -> bool:
    """Whether a run's folder and the folder of its frames are below the `paths.outputs` of the run's settings.

    A run lies at `<outputs>/<data>/<stage>/<name>`, a job at `<outputs>/<data>/sweeps/<sweep>/<name>`.
    """
    outputs, frames = (Path(str(paths.get(key))).resolve() for key in ("outputs", "frames"))
    return outputs in run.resolve().parents[2:4] and outputs in frames.parents


def _with_own_places(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections `data` and `dataset` of a run, with today's `paths` for all files that may be written.

    The run's `split_file` is kept if the file exists, because then the file is only read.
    """
    streams = {key: {**value, "folder": "${paths.frames}"} for key, value in data.items() if writes(value)}
    found = {"data": {**_without(data, ("dataset",)), **streams}}
    if isinstance(data.get("dataset"), dict):
        found["dataset"] = data["dataset"]
        if "split_file" in data["dataset"] and not Path(str(data["dataset"]["split_file"])).is_file():
            found["dataset"] = _without(data["dataset"], ("split_file",)) | {"split_file": SPLIT_FILE}
    return found


def _drop_streams(config: DictConfig, data: Mapping[str, Any]) -> None:
    """Remove the streams from a configuration, in place, that a run's data do not have."""
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
        # An interpolation that gives the run's value is kept, so that it still follows the command line.
        for path, value in leaves:
            if _interpolated(config, path) and value_at(config, path) != value:
                OmegaConf.update(config, path, value, merge=False, force_add=True)
        for path, value in given.items():
            OmegaConf.update(config, path, value, merge=False, force_add=True)


def _leaves(config: DictConfig, saved: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted path; a mapping of `_WHOLE` is one value."""
    for key, value in saved.items():
        path = f"{prefix}{key}"
        node = OmegaConf.select(config, path, throw_on_missing=False)
        whole = key in _WHOLE or _interpolated(config, path)  # such as model.optimizer, which is ${optimizer}
        if isinstance(value, dict) and isinstance(node, DictConfig):
            # Merging would mix the arguments of two classes.
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
    """The values that the command line sets, by path."""
    return {
        key: value_at(config, key)
        for key in given_keys()
        if OmegaConf.select(config, key, default=config) is not config
    }


def value_at(config: DictConfig, key: str) -> Any:
    """A setting or a group of settings as plain types, interpolations resolved; None if there is no such key."""
    node = OmegaConf.select(config, key, throw_on_missing=False)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def given_keys() -> list[str]:
    """Keys and groups that the command line sets, without groups of package `_global_`."""
    keys = [override.key_or_group.replace("/", ".") for override in _overrides() if not override.is_delete()]
    return [key for key in dict.fromkeys(keys) if key not in _GLOBAL]


def given_choice(group: str) -> str | None:
    """The option of a config group that the command line chooses, or None."""
    named = [override.value() for override in _overrides() if override.key_or_group == group]
    return str(named[-1]) if named else None


def _overrides() -> list[Override]:
    """The overrides of the command line; empty if Hydra is not running."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return OverridesParser.create().parse_overrides(list(given))
