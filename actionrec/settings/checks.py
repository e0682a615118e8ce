"""Checks of composed settings: which values each key may have, and a one-line error for any other value.

The checks run before a verb loads its libraries or writes a file. A key that is not listed here is checked by the code
that uses it.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from actionrec.settings import rules
from actionrec.settings.rules import amount, filled, flag, path, require
from actionrec.settings.values import MAX_SEED, Check, integer, maybe, number, one_of, shown
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

OBJECTIVES = ("val/acc", "val/acc_macro", "val/acc_top5", "val/f1_macro", "val/map", "val/loss")
MONITORED = (*OBJECTIVES, "train/acc", "train/loss")


# By dotted key; `*` stands for every key of a mapping.
SETTINGS: dict[str, Check] = {
    "paths.name": rules.name,
    "paths.outputs": rules.folder,
    "paths.frames": rules.folder,
    "paths.flow": rules.folder,
    **dict.fromkeys(("paths.root", "paths.stanford40", "paths.hmdb51", "paths.hmdb51_splits"), path),
    "stage": rules.name,
    "sweep.name": rules.name,
    "search.name": rules.name,
    "flow.name": rules.name,
    "seed": maybe(integer(0, MAX_SEED), None),  # null in conf/report.yaml means any seed; see `check`
    "split": maybe(integer(1), None),
    "run_dir": rules.run_folder,
    "work_dir": rules.folder,
    "init_from": rules.parents,
    "resume": maybe(path, True, False, "auto"),
    "overwrite": flag,
    "tag": maybe(rules.tag, None),
    "parent_tag": maybe(rules.tag, None),
    "run_again": maybe(rules.folder, None),
    "trust": rules.modules,
    "compile": rules.compilation,
    "fast_depthwise": flag,
    "cache_features": flag,
    "views.segments": integer(1, 1000),
    "views.crops": one_of(1, 3, 5, 10),
    "data.actions": rules.actions,
    "data.strict": flag,
    "data.size": integer(16, 4096),  # pixels
    "data.batch_size": integer(1),
    "data.num_workers": maybe(rules.loader_processes, "auto"),
    "data.segments": integer(1, 1000),
    "data.fold": integer(0, 4),
    "data.crops": one_of(1, 3, 5, 10),
    "data.cache": one_of("ram", None),
    "data.augmentation": one_of("none", "reference", "strong"),
    "data.position": one_of("first", "quarter", "middle", "three_quarter", "last", "random"),
    "data.*.representation": one_of("xy", "magnitude"),
    "data.*.fields": maybe(integer(1), None),
    "data.*.length": integer(1),
    "data.*.frames": integer(1),
    "data.*.stride": integer(1),
    "data.*.params": rules.section,
    "data.*.folder": path,
    "flow.params": rules.section,
    "flow.bound": maybe(number(0, above=True), None),  # null in conf/flow/imported.yaml: the user must set it
    "flow.short_side": maybe(integer(16), None),
    "backbone.name": filled,
    "backbone.stem": one_of("inflate", "random"),
    "model.label_smoothing": number(0, 1),
    "model.dropout": number(0, 1),
    "model.decay_norms": flag,
    "model.head_lr_factor": number(0, above=True),
    "model.backbone_lr_factor": number(0, above=True),
    "model.batch_norm": one_of("train", "partial", "frozen"),
    "model.head_epochs": integer(0, 100_000),
    "model.mixup": number(0, 1000),
    "model.frozen": rules.streams,
    "model.fusion": rules.or_class(one_of("concat", "concat_features", "conv", "average", "max", "gated")),
    "recipe.lr_factor": number(0, above=True),
    "recipe.patience": amount,
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": number(0, 1),
    "optimizer.fused": maybe(flag, "auto"),
    "scheduler.pct_start": number(0, 1),
    "scheduler.base": number(0, 1),
    "scheduler.epochs_per_cycle": number(0, above=True),
    "scheduler.monitor": one_of(*MONITORED),
    "scheduler.interval": one_of("epoch", "step"),
    "scheduler.frequency": integer(1),
    "trainer.max_epochs": integer(1),
    "trainer.log_every_n_steps": integer(1),
    "trainer.check_val_every_n_epoch": integer(1),
    "trainer.accumulate_grad_batches": integer(1),
    "trainer.num_sanity_val_steps": integer(-1),
    "trainer.gradient_clip_val": maybe(number(0), None),
    **{f"trainer.limit_{part}_batches": maybe(number(0, above=True), None) for part in ("train", "val", "test")},
    "objective": one_of(*OBJECTIVES),
    "callbacks.*": maybe(rules.section, None),
    "callbacks.*.monitor": one_of(*MONITORED),
    "callbacks.early_stopping.patience": amount,
    "callbacks.training_batch.samples": amount,
    "callbacks.validation.wrong": amount,
    "callbacks.validation.grad_cam": amount,
    "callbacks.validation.projected": amount,
    "workers": maybe(rules.processes, "auto"),  # of extract_flow and import_flow
    "shard.count": integer(1),
    "shard.index": amount,
    "verify": flag,
    "preview": maybe(path, None),
    "parts": rules.parts,  # of evaluate
    "checkpoint": path,
    "output": maybe(rules.folder, None),
    "top": integer(1),  # of predict
    "format": one_of("table", "json", "csv", None),
    "out": maybe(path, None),
    "annotate": maybe(path, None),
    "reject": maybe(number(0, 1), "auto", "off"),
    "calibrate": flag,
    "rate": number(0, 1),
    "window.use": one_of("auto", True, False),
    "window.clip_seconds": number(0),
    "window.seconds": number(0, above=True),
    "window.hop": number(0, above=True),
    "window.smooth": number(0),
    "window.enter": maybe(number(0, 1), None),
    "window.leave": maybe(number(0, 1), None),
    "window.least": number(0),
    "timeout": number(0, 86_400, above=True),  # of predict
    "reconnect": integer(0, 1_000_000),
    "localisation.use": flag,  # of evaluate
    "localisation.clips": integer(1),
    "localisation.seed": integer(0),
    "localisation.background": maybe(path, None),
    "accelerator": filled,
    "precision": maybe(filled, None),
    "batch_size": integer(1),
    "gallery": amount,  # of report
    "search.trials": integer(1),
    "source": maybe(rules.paths, None),  # of prepare, import_flow and predict
    "source_splits": maybe(rules.paths, None),
    "expect_complete": flag,
    "dataset.seed": integer(0),
    "dataset.split": integer(1),
    "dataset.protocol": one_of("official", "pooled"),
}

# Parameters of each estimator. Some estimators do not check them, and silently compute something else.
FLOW_PARAMS: dict[str, dict[str, Check]] = {
    "dis": {"preset": one_of("ultrafast", "fast", "medium"), "finest_scale": maybe(integer(0, 7), None)},
    "farneback": {
        "pyr_scale": number(0, 0.99, above=True),
        "levels": integer(1, 20),
        "winsize": integer(1, 500),
        "iterations": integer(1, 100),
        "poly_n": integer(3, 31),
        "poly_sigma": number(0, 10, above=True),
    },
    "tvl1": {
        "tau": number(0, 1, above=True),
        "lambda_": number(0, 10, above=True),
        "theta": number(0, 10, above=True),
        "warps": integer(1, 100),
        "epsilon": number(0, 1, above=True),
    },
    "raft": {"network": one_of("raft_small", "raft_large"), "weights": filled, "updates": integer(1, 100)},
}


def check(config: DictConfig) -> None:
    """Check the composed settings of a verb; missing settings, also those at `???`, are skipped.

    Raises:
        ActionRecError: a setting has a value that it may not have; the message is `key=value: use …`.
    """
    if "trainer" in config:
        require("seed", config.seed, integer(0, MAX_SEED))
        require("split", config.split, integer(1))
    foreign = tuple(f"{group}." for group in ("data", "model", "callbacks", "dataset") if _is_foreign(config, group))
    for pattern, rule in SETTINGS.items():
        for key, value in _values(config, pattern.split(".")) if not pattern.startswith(foreign) else ():
            if not pattern.startswith("data.*.") or not _is_foreign(config, key.rpartition(".")[0]):
                require(key, value, rule)
    for place in (["flow"], ["data", "*"]):
        for named, algorithm in _values(config, [*place, "algorithm"]):
            for param, rule in FLOW_PARAMS.get(str(algorithm), {}).items():
                for key, value in _values(config, [*named.split(".")[:-1], "params", param]):
                    require(key, value, rule)
    if "callbacks." not in foreign:
        _check_monitors(config)
    if "model." not in foreign:
        _check_frozen(config)
    _check_devices(config)
    _check_space(config)


def check_dataset(config: DictConfig) -> None:
    """Raise if a stage's data set is one that `actionrec prepare` only generates, in the folders of other data sets."""
    dataset = config.get("dataset")
    if "trainer" in config and isinstance(dataset, DictConfig) and "_target_" not in dataset:
        name = dataset.get("name")
        raise ActionRecError(
            f"dataset={name} is generated by actionrec prepare, in the folders of other data sets; leave it out, and "
            f"choose paths={name} and a stage, such as experiment=hmdb51_frame"
        )


def check_stage(config: DictConfig, choices: Mapping[str, Any], groups: Mapping[str, Collection[str]]) -> None:
    """Raise if `stage` is the name of another shipped experiment, since the two would share run folders."""
    shipped, experiment = groups["experiment"], choices.get("experiment")
    own = (experiment, f"{config.dataset.name}_{experiment}") if "dataset" in config else (experiment,)
    if experiment in shipped and config.stage in shipped and config.stage not in own:
        raise ActionRecError(f"stage={config.stage}: experiment={experiment} is another stage; say experiment= instead")


def _is_foreign(config: DictConfig, group: str) -> bool:
    """Whether a class of the user's own reads that group; its arguments and metrics are unknown here."""
    module = {"callbacks": "model"}.get(group, group)
    targets = _values(config, [*module.split("."), "_target_"])
    return any(not str(target).startswith("actionrec.") for _, target in targets)


def _values(config: Any, pattern: Sequence[str], above: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys that match a pattern, with their values."""
    if not isinstance(config, DictConfig) or config._is_none() or config._is_missing():
        return
    first, rest = pattern[0], pattern[1:]
    keys = [str(key) for key in config]
    for key in keys if first == "*" else [first] if first in keys else []:
        if OmegaConf.is_missing(config, key):
            continue
        try:
            value = config[key]
        except InterpolationToMissingValueError:  # the code that needs the value reports it
            continue
        if rest:
            yield from _values(value, rest, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _check_monitors(config: DictConfig) -> None:
    """Raise unless losses are monitored for their minimum and other metrics for their maximum."""
    for key, monitor in _values(config, ["callbacks", "*", "monitor"]):
        above = key.rpartition(".")[0]
        wanted = "min" if monitor.endswith("loss") else "max"
        for mode_key, mode in _values(config, [*above.split("."), "mode"]):
            if mode != wanted:
                raise ActionRecError(f"{mode_key}={shown(mode)}: {key}={monitor} needs {mode_key}={wanted}")


def _check_frozen(config: DictConfig) -> None:
    """Raise unless frozen streams are streams of the network."""
    streams = [key.split(".")[1] for key, _ in _values(config, ["model", "*", "backbone"])]
    for key, frozen in _values(config, ["model", "frozen"]):
        if unknown := [name for name in frozen if name not in streams]:
            raise ActionRecError(f"{key}={shown(frozen)}: {unknown[0]} is no stream; use some of {', '.join(streams)}")


def _check_devices(config: DictConfig) -> None:
    """Raise if there are more CPU devices than cores: each is a process. Two are always allowed, for trials."""
    most = max(usable_cores(), 2)
    for key, devices in _values(config, ["trainer", "devices"]):
        count = int(devices) if isinstance(devices, str) and devices.isdigit() else devices
        if isinstance(count, bool) or not isinstance(count, int) or count <= most:
            continue  # Lightning checks the rest
        accelerator = config.trainer.get("accelerator", "auto")
        if accelerator == "cpu" or (accelerator == "auto" and not _has_accelerator()):
            raise ActionRecError(f"{key}={devices}: use at most {most} on this CPU, where each is a whole process")


def _has_accelerator() -> bool:
    import torch  # slow to import; needed only for many devices

    return torch.accelerator.is_available()


def _check_space(config: DictConfig) -> None:
    """Check the ranges and values of a search as the settings they stand for; `search` checks that those exist."""
    for key, space in _values(config, ["search", "space"]):
        if not isinstance(space, ListConfig) or not len(space):
            raise ActionRecError(f"{key}={shown(space)}: name one setting or more, such as {{key: optimizer.lr, …}}")
        for line in space:
            if not isinstance(line, DictConfig):
                raise ActionRecError(f"{key}: {shown(line)} is no setting; use {{key: …, low: …, high: …}}")
            _check_line(line)
        named = [str(line.get("key", "")) for line in space]
        if doubled := [each for each in named if named.count(each) > 1]:
            raise ActionRecError(f"{key} names {doubled[0]} twice; give it one line")


def _check_line(line: DictConfig) -> None:
    setting = str(line.get("key", ""))
    rule = next((rule for pattern, rule in SETTINGS.items() if _matches(pattern, setting)), None)
    where = f"search.space: {setting}"
    if "values" in line:
        values = line["values"]
        if not isinstance(values, ListConfig) or not len(values):
            raise ActionRecError(f"{where}: values={shown(values)}: use a list of one value or more")
        if any(isinstance(value, (ListConfig, DictConfig)) for value in values):
            raise ActionRecError(f"{where}: values={shown(values)}: use a list of plain values")
        for value in values if rule else ():
            require(where, value, rule)  # type: ignore[arg-type]
    if "low" in line and "high" in line:
        low, high, log = line["low"], line["high"], line.get("log", False)
        for end, value in (("low", low), ("high", high)):
            require(f"{where}: {end}", value, number(-math.inf))
        require(f"{where}: log", log, flag)
        if log and low <= 0:
            raise ActionRecError(f"{where}: low={shown(low)}: use a number above 0, as log: true needs it")
        if low > high:
            raise ActionRecError(f"{where}: low={shown(low)} high={shown(high)}: low must be at most high")
        for value in (low, high) if rule else ():
            require(where, value, rule)  # type: ignore[arg-type]


def _matches(pattern: str, key: str) -> bool:
    wanted, found = pattern.split("."), key.split(".")
    return len(wanted) == len(found) and all(each in ("*", one) for each, one in zip(wanted, found, strict=True))
