"""Checks of composed settings: every key that has limits, and the one line for what lies outside of them.

They run before a verb loads its libraries or writes a file. A key that no line here names is checked where it is used.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from actionrec.errors import ActionRecError
from actionrec.hardware import usable_cores

Check = Callable[[Any], str | None]  # a value to the words that say what it may be; None is "it is right"

MAX_SEED = 2**32 - 1  # numpy's
MAX_NAME_BYTES = 200  # of the 255 that file systems take, some are for `.partial` and temporary names
WORKING_SUFFIXES = (".partial", ".replaced")  # of run folders
MONITORED = ("val/acc", "val/acc_macro", "val/acc_top5", "val/loss", "train/acc", "train/loss")


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(_shown, values))


def _shown(value: Any) -> str:
    """A value as the command line would say it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value)
    return " ".join(str(value).split())[:200]


def whole(low: int, high: int | None = None) -> Check:
    """A whole number from `low` to `high`; a bool or a float is none."""
    words = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def check(value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool)
        return None if right and low <= value and (high is None or value <= high) else words

    return check


def number(low: float, high: float | None = None, above: bool = False) -> Check:
    """A finite number from `low`, or above it, to `high`."""
    words = f"a number {'above' if above else 'of at least'} {low:g}" if math.isfinite(low) else "a number"
    if high is not None:
        words = f"a number {'above' if above else 'from'} {low:g} {'and at most' if above else 'to'} {high:g}"

    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return words
        return None if (low < value if above else low <= value) and (high is None or value <= high) else words

    return check


def one_of(*choices: Any) -> Check:
    """One of these values."""
    *most, last = map(_shown, choices)
    words = f"one of {', '.join(most)}, {last}" if len(most) > 1 else " or ".join([*most, last])

    def check(value: Any) -> str | None:
        return None if any(type(value) is type(choice) and value == choice for choice in choices) else words

    return check


def maybe(check: Check, *others: Any) -> Check:
    """What `check` takes, or one of the `others`."""

    def either(value: Any) -> str | None:
        words = check(value)
        return None if words is None or one_of(*others)(value) is None else f"{_listed(others)}, or {words}"

    return either


def text(value: Any) -> str | None:
    """A text that is not empty."""
    return None if isinstance(value, str) and value.strip() else "a name"


def mapping(value: Any) -> str | None:
    """A mapping of settings."""
    return None if isinstance(value, Mapping) else "a mapping of settings"


def name(value: Any) -> str | None:
    """One component of a path: the name of a run, a stage, a sweep or a data set."""
    right = (
        isinstance(value, str)
        and value == value.strip()
        and not re.search(r"[/\\\x00-\x1f\x7f]", value)
        and not value.startswith((".", "-", "~"))
        and not value.endswith(WORKING_SUFFIXES)
        and 0 < len(value.encode(errors="replace")) <= MAX_NAME_BYTES
    )
    return None if right else "one plain folder name, without / and without a dot or dash before it"


def path(value: Any) -> str | None:
    """A path, as text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return "a path"
    if value.startswith("~"):
        return "a whole path such as $HOME/…, since a shell replaces ~ only where a word begins with it"
    return None


def folder(value: Any) -> str | None:
    """The path of a folder, which may not be there yet; no file lies on the way to it."""
    if words := path(value):
        return words
    try:
        on_the_way = [place for place in (Path(value), *Path(value).parents) if place.exists() and not place.is_dir()]
    except OSError as error:
        return f"another folder ({error.strerror})"
    return f"another folder, since {on_the_way[0]} is a file" if on_the_way else None


def run_folder(value: Any) -> str | None:
    """The path of a run's folder, whose last part is a name of its own."""
    if words := folder(value):
        return words
    return "a folder with a name of its own, such as outputs/mine" if name(Path(value).name) else None


def paths(value: Any) -> str | None:
    """A path, or several."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return None if value and not any(map(path, value)) else "a path, or a list of paths"
    return path(value)


def processes(value: Any) -> str | None:
    """A number of worker processes; thousands of them only bring a machine down."""
    most = max(64, 4 * usable_cores())
    return f"at least 1 and at most {most}" if whole(1, most)(value) else None


def loader_processes(value: Any) -> str | None:
    """A number of loader processes, of which 0 reads in the training process itself."""
    return whole(0, max(64, 4 * usable_cores()))(value)


def streams(value: Any) -> str | None:
    """A list of streams."""
    right = isinstance(value, Sequence) and not isinstance(value, str) and set(value) <= {"frame", "flow"}
    return None if right else "a list of streams such as [frame] or [frame,flow]"


def actions(value: Any) -> str | None:
    """A class list; whether the data have its actions, `actions.class_list` says."""
    if isinstance(value, str):
        right = value in ("shared", "all")
    else:
        right = isinstance(value, Sequence) and all(isinstance(each, str) and each.strip() for each in value)
    return None if right else "shared, all, or a list such as data.actions=[clap,wave]"


def parts(value: Any) -> str | None:
    """A list of parts of a data set."""
    several = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    right = several and set(value) <= {"train", "val", "test"}
    return None if right else "a list of parts, of train, val, test, such as [val,test]"


def tag(value: Any) -> str | None:
    """A suffix of a run's name; `tag=1` is a number to Hydra."""
    return name(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else name(value)


def modules(value: Any) -> str | None:
    """A list of importable modules."""
    right = isinstance(value, Sequence) and not isinstance(value, str) and not any(map(text, value))
    return None if right else "a list of modules of yours, such as trust=[my_package]"


def parents(value: Any) -> str | None:
    """Weights of earlier stages: none, a checkpoint, or one a stream."""
    if isinstance(value, Mapping):
        right = all(each is None or not path(each) for each in value.values())
    else:
        right = value is None or not path(value)
    return None if right else "null, a checkpoint's path, or {frame: <path>, flow: <path>}"


def compilation(value: Any) -> str | None:
    """Whether, or with which arguments, torch compiles the networks."""
    known = {"fullgraph", "dynamic", "backend", "mode", "options"}  # of torch.compile
    right = isinstance(value, bool) or (isinstance(value, Mapping) and set(value) <= known)
    return None if right else "true, false, or arguments of torch.compile such as {mode: max-autotune}"


flag = one_of(True, False)
amount = whole(0)

# Dotted keys, `*` for every key of a mapping.
SETTINGS: dict[str, Check] = {
    "paths.name": name,
    "paths.outputs": folder,
    "paths.frames": folder,
    "paths.flow": folder,
    **dict.fromkeys(("paths.root", "paths.stanford40", "paths.hmdb51", "paths.hmdb51_splits"), path),
    "stage": name,
    "sweep.name": name,
    "search.name": name,
    "flow.name": name,
    "seed": maybe(whole(0, MAX_SEED), None),  # null in conf/report.yaml: of any; see `check`
    "split": maybe(whole(1), None),
    "run_dir": run_folder,
    "work_dir": folder,
    "init_from": parents,
    "resume": maybe(path, True, False, "auto"),
    "overwrite": flag,
    "tag": maybe(tag, None),
    "parent_tag": maybe(tag, None),
    "run_again": maybe(folder, None),
    "trust": modules,
    "compile": compilation,
    "cache_features": flag,
    "views.segments": whole(1, 1000),
    "views.crops": one_of(1, 3, 5, 10),
    "data.actions": actions,
    "data.strict": flag,
    "data.size": whole(16, 4096),  # pixels
    "data.batch_size": whole(1),
    "data.num_workers": maybe(loader_processes, "auto"),
    "data.split": whole(1),
    "data.segments": whole(1, 1000),
    "data.crops": one_of(1, 3, 5, 10),
    "data.cache": one_of("ram", None),
    "data.augmentation": one_of("none", "reference", "strong"),
    "data.position": one_of("first", "quarter", "middle", "three_quarter", "last", "random"),
    "data.protocol": one_of("official", "pooled"),
    "data.representation": one_of("xy", "magnitude"),
    "data.fields": maybe(whole(1), None),
    "data.stride": whole(1),
    "data.flow": mapping,
    "data.flow.params": mapping,
    "flow.params": mapping,
    "flow.bound": maybe(number(0, above=True), None),  # null in conf/flow/imported.yaml: must be said
    "flow.short_side": maybe(whole(16), None),
    "backbone.name": text,
    "backbone.stem": one_of("inflate", "random"),
    "model.label_smoothing": number(0, 1),
    "model.dropout": number(0, 1),
    "model.frozen": streams,
    "model.fusion": one_of("concat", "concat_features", "conv", "average", "max"),
    "recipe.lr_factor": number(0, above=True),
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": number(0, 1),
    "optimizer.fused": flag,
    "scheduler.pct_start": number(0, 1),
    "scheduler.base": number(0, 1),
    "scheduler.epochs_per_cycle": number(0, above=True),
    "trainer.max_epochs": whole(1),
    "trainer.log_every_n_steps": whole(1),
    "trainer.check_val_every_n_epoch": whole(1),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.num_sanity_val_steps": whole(-1),
    **{f"trainer.limit_{part}_batches": maybe(number(0, above=True), None) for part in ("train", "val", "test")},
    "callbacks.*": mapping,
    "callbacks.*.monitor": one_of(*MONITORED),
    "callbacks.early_stopping.patience": amount,
    "callbacks.training_batch.samples": amount,
    "callbacks.validation.wrong": amount,
    "callbacks.validation.grad_cam": amount,
    "callbacks.validation.projected": amount,
    "workers": maybe(processes, "auto"),  # of extract_flow and import_flow
    "shard.count": whole(1),
    "shard.index": amount,
    "verify": flag,
    "preview": maybe(path, None),
    "parts": parts,  # of evaluate
    "checkpoint": path,
    "output": maybe(folder, None),
    "gallery": amount,  # of report
    "search.trials": whole(1),
    "source": maybe(paths, None),  # of prepare and import_flow
    "source_splits": maybe(paths, None),
    "expect_complete": flag,
    "dataset.seed": whole(0),
}

_NO_OPTION = (type(None), int, float, dict, list)  # of a config group, whose options are names
_FUNCTION = re.compile(  # of Hydra's grammar
    r"(bool|choice|extend_list|float|glob|int|interval|json_str|range|shuffle|sort|str|tag)\("
)

# The parameters of an estimator, for which some have no limits of their own and silently do something else.
FLOW_PARAMS: dict[str, dict[str, Check]] = {
    "dis": {"preset": one_of("ultrafast", "fast", "medium"), "finest_scale": maybe(whole(0, 7), None)},
    "farneback": {
        "pyr_scale": number(0, 0.99, above=True),
        "levels": whole(1, 20),
        "winsize": whole(1, 500),
        "iterations": whole(1, 100),
        "poly_n": whole(3, 31),
        "poly_sigma": number(0, 10, above=True),
    },
    "tvl1": {
        "tau": number(0, 1, above=True),
        "lambda_": number(0, 10, above=True),
        "theta": number(0, 10, above=True),
        "warps": whole(1, 100),
        "epsilon": number(0, 1, above=True),
    },
    "raft": {"network": one_of("raft_small", "raft_large"), "weights": text, "updates": whole(1, 100)},
}


def check(config: DictConfig) -> None:
    """Check the composed settings of a verb; a setting that it does not have, or that is `???`, is passed over.

    Raises:
        ActionRecError: the first setting that is not what it may be, as `key=value: use …`.
    """
    if "trainer" in config:
        require("seed", config.seed, whole(0, MAX_SEED))
        require("split", config.split, whole(1))
    foreign = tuple(f"{group}." for group in ("data", "model", "callbacks") if _is_foreign(config, group))
    for pattern, rule in SETTINGS.items():
        for key, value in _values(config, pattern.split(".")) if not pattern.startswith(foreign) else ():
            require(key, value, rule)
    for place in ("flow", "data.flow"):
        for _, algorithm in _values(config, [*place.split("."), "algorithm"]):
            for param, rule in FLOW_PARAMS.get(str(algorithm), {}).items():
                for key, value in _values(config, [*place.split("."), "params", param]):
                    require(key, value, rule)
    if "callbacks." not in foreign:
        _check_monitors(config)
    _check_devices(config)
    _check_space(config)


def check_stage(config: DictConfig, choices: Mapping[str, Any], groups: Mapping[str, Collection[str]]) -> None:
    """Refuse to call the stage of one experiment by the name of another, in whose folders its runs would lie."""
    shipped, experiment = groups["experiment"], choices.get("experiment")
    if experiment in shipped and config.stage in shipped and config.stage != experiment:
        raise ActionRecError(f"stage={config.stage}: experiment={experiment} is another stage; say experiment= instead")


def require(key: str, value: Any, rule: Check) -> None:
    """Raise unless the value is what `rule` takes."""
    if words := rule(value):
        raise ActionRecError(f"{key}={_shown(value)}: use {words}")


def _is_foreign(config: DictConfig, group: str) -> bool:
    """Whether modules of the user's own read that group; what they take and log is theirs to say."""
    module = {"callbacks": "model"}.get(group, group)
    return any(not str(target).startswith("actionrec.") for _, target in _values(config, [module, "_target_"]))


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
        except InterpolationToMissingValueError:  # whoever needs it says so
            continue
        if rest:
            yield from _values(value, rest, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _check_monitors(config: DictConfig) -> None:
    """A loss is monitored for its lowest value, an accuracy for its highest."""
    for key, monitor in _values(config, ["callbacks", "*", "monitor"]):
        above = key.rpartition(".")[0]
        wanted = "min" if monitor.endswith("loss") else "max"
        for mode_key, mode in _values(config, [*above.split("."), "mode"]):
            if mode != wanted:
                raise ActionRecError(f"{mode_key}={_shown(mode)}: {key}={monitor} needs {mode_key}={wanted}")


def _check_devices(config: DictConfig) -> None:
    """On the CPU each device is a process of its own; two of them may share one core, for a trial."""
    most = max(usable_cores(), 2)
    for key, devices in _values(config, ["trainer", "devices"]):
        count = int(devices) if isinstance(devices, str) and devices.isdigit() else devices
        if isinstance(count, bool) or not isinstance(count, int) or count <= most:
            continue  # Lightning names what is none of its
        accelerator = config.trainer.get("accelerator", "auto")
        if accelerator == "cpu" or (accelerator == "auto" and not _has_accelerator()):
            raise ActionRecError(f"{key}={devices}: use at most {most} on this CPU, where each is a whole process")


def _has_accelerator() -> bool:
    import torch  # heavy; needed only where a number is suspicious

    return torch.accelerator.is_available()


def _check_space(config: DictConfig) -> None:
    """The ranges and values of a search, each by what its setting may be; `search` knows which settings there are."""
    for key, space in _values(config, ["search", "space"]):
        if not isinstance(space, ListConfig) or not len(space):
            raise ActionRecError(f"{key}={_shown(space)}: name one setting or more, such as {{key: optimizer.lr, …}}")
        for line in space:
            if not isinstance(line, DictConfig):
                raise ActionRecError(f"{key}: {_shown(line)} is no setting; use {{key: …, low: …, high: …}}")
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
            raise ActionRecError(f"{where}: values={_shown(values)}: use a list of one value or more")
        if any(isinstance(value, (ListConfig, DictConfig)) for value in values):
            raise ActionRecError(f"{where}: values={_shown(values)}: use a list of plain values")
        for value in values if rule else ():
            require(where, value, rule)  # type: ignore[arg-type]
    if "low" in line and "high" in line:
        low, high, log = line["low"], line["high"], line.get("log", False)
        for end, value in (("low", low), ("high", high)):
            require(f"{where}: {end}", value, number(-math.inf))
        require(f"{where}: log", log, flag)
        if log and low <= 0:
            raise ActionRecError(f"{where}: low={_shown(low)}: use a number above 0, as log: true needs it")
        if low > high:
            raise ActionRecError(f"{where}: low={_shown(low)} high={_shown(high)}: low must be at most high")
        for value in (low, high) if rule else ():
            require(where, value, rule)  # type: ignore[arg-type]


def _matches(pattern: str, key: str) -> bool:
    wanted, found = pattern.split("."), key.split(".")
    return len(wanted) == len(found) and all(each in ("*", one) for each, one in zip(wanted, found, strict=True))


def check_command_line(words: Iterable[str], groups: Mapping[str, Collection[str]], choose: str | None) -> None:
    """Check the overrides of a command line for mistakes that Hydra takes silently, or answers with a traceback.

    Args:
        words: the arguments.
        groups: the choices of each config group.
        choose: the group of which one is chosen, see `cli.verb`.
    """
    overrides = _parse(words)
    chosen = {str(override.input_line).partition("=")[2] for override in overrides if override.key_or_group == choose}
    if len(chosen) > 1 or any(each.startswith("[") for each in chosen):
        raise ActionRecError(f"{choose}={f' {choose}='.join(sorted(chosen))}: name one of them")
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key in groups and override.is_delete() and value is not None and not isinstance(value, str):
            raise ActionRecError(f"~{key}={_shown(value)}: say ~{key} alone")
        if key in groups and not override.is_delete() and any(isinstance(each, _NO_OPTION) for each in _options(value)):
            options = "none" if "none" in groups[key] else "|".join(sorted(groups[key]))
            raise ActionRecError(f"{key}={_shown(value)}: say {key}={options}")
        if isinstance(value, ChoiceSweep):
            swept = list(override.sweep_string_iterator())
            if doubled := [each for each in swept if swept.count(each) > 1]:
                raise ActionRecError(f"{key}={','.join(swept)} has {doubled[0]} twice; name each value once")


def _options(value: Any) -> list[Any]:
    """The options that an override of a config group chooses."""
    return value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]


def unreadable(override: str) -> str | None:
    """How to quote a value that Hydra's grammar does not take; None where quotes are not the mend."""
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w./@-]+", key) or _FUNCTION.match(value):
        return None
    if value.startswith("~"):
        return f"{override}: use {path(value)}"
    for quote in "'", '"':
        quoted = f"{key}={quote}{value}{quote}"
        if _parse([quoted]):
            outer = '"' if quote == "'" else "'"
            return f"{override}: Hydra cannot read this value as it is; quote it twice, {outer}{quoted}{outer}"
    return None


def _parse(words: Iterable[str]) -> list[Override]:
    """The overrides among arguments, but for those that Hydra will complain of."""
    parser, overrides = OverridesParser.create(), []
    for word in words:
        if not word.startswith("-"):
            try:
                overrides.append(parser.parse_override(word))
            except HydraException:
                continue
    return overrides
