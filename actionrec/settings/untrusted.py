"""What files of others say, read as data and checked before anything is built from it.

A checkpoint and a run's `config.yaml` may come from anywhere. Their text is never resolved and never instantiated as it
is: it may only hold the keys, types and ranges of the tables below, and `_target_`s only of the lists below, each at
its own place. The command line and `conf/` belong to the user and may name any class; of a file, `trust` says which
modules it may name beside those of the lists.
"""

import importlib
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actionrec.settings.earlier import renew
from actionrec.system.errors import ActionRecError

LARGEST_CONFIG = 1 << 18  # bytes; a run's has three thousand
LARGEST_JSON = 1 << 26
_DEEPEST = 20
_GENERATIONS = 12  # of a lineage

# ------------------------------------------------------------------------------------------------ checks of a value

Check = Callable[[Any, str], None]


class UnfitError(ValueError):
    """A value is not one that may stand at its place."""


def _refuse(place: str, value: Any, wanted: str) -> NoReturn:
    raise UnfitError(f"{place}={_shown(value)}: {wanted}")


def reason(error: BaseException, longest: int = 150) -> str:
    """An error's message for one of ours: one line, not long, without what a terminal would obey."""
    return printable(" ".join(str(error).split()) or type(error).__name__, longest)


def printable(value: str, longest: int = 40) -> str:
    """A text of a file for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in value[:longest]) + "…" * (len(value) > longest)


def _shown(value: Any) -> str:
    """A value for a message: never long, and never expensive."""
    if type(value) is str:
        return printable(value)
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 1 << 64):
        return str(value)
    return f"<{type(value).__name__}>"


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and halves of characters


def text(longest: int = 200, resolved: bool = True) -> Check:
    """A string of printable characters.

    Args:
        longest: characters.
        resolved: whether it may go into a configuration, where `${` would be an interpolation and `???` no value.
    """

    def check(value: Any, place: str) -> None:
        if type(value) is not str or len(value) > longest:
            _refuse(place, value, f"must be a text of at most {longest} characters")
        if _CONTROL.search(value):
            _refuse(place, value, "must be a text without control characters")
        if resolved and ("${" in value or value == "???"):
            _refuse(place, value, "must be a text without interpolations")

    return check


def pattern(expression: str, wanted: str) -> Check:
    """A string that is one of a regular expression as a whole."""

    def check(value: Any, place: str) -> None:
        if type(value) is not str or len(value) > 200 or not re.fullmatch(expression, value, re.ASCII):
            _refuse(place, value, f"must be {wanted}")

    return check


def integer(low: int, high: int) -> Check:
    """An integer of [low, high]; True and False are none."""

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _refuse(place, value, f"must be an integer of {low} to {high}")

    return check


def number(low: float, high: float) -> Check:
    """A finite number of [low, high]."""

    def check(value: Any, place: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high:  # NaN compares as false
            _refuse(place, value, f"must be a number of {low:g} to {high:g}")

    return check


def one_of(*choices: Any) -> Check:
    """One of a few values, of the very same type."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            _refuse(place, value, f"must be one of {', '.join(map(str, choices))}")

    return check


def either(*checks: Check) -> Check:
    """What passes one of several checks; the last one words the message."""

    def check(value: Any, place: str) -> None:
        for each in checks[:-1]:
            try:
                return each(value, place)
            except UnfitError:
                continue
        return checks[-1](value, place)

    return check


def optional(check: Check) -> Check:
    """None, or what passes the check."""
    return either(one_of(None), check)


def list_of(check: Check, shortest: int = 0, longest: int = 1000, distinct: bool = False) -> Check:
    """A list (or tuple) of values that each pass the check."""

    def check_list(value: Any, place: str) -> None:
        if type(value) not in (list, tuple) or not shortest <= len(value) <= longest:
            _refuse(place, value, f"must be a list of {shortest} to {longest} values")
        for index, each in enumerate(value):
            check(each, f"{place}[{index}]")
        if distinct and len(set(value)) < len(value):
            _refuse(place, value, "must be a list without anything twice")

    return check_list


def table(known: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    """A mapping of known keys, each with a check of its own."""

    def check(value: Any, place: str) -> None:
        _mapping(value, place)
        for key, each in value.items():
            if key not in known:
                raise UnfitError(f"{_join(place, _shown(key))} is no key that this version knows")
            known[key](each, _join(place, key))
        if missing := [key for key in required if key not in value]:
            raise UnfitError(f"{_join(place, missing[0])} is missing")

    return check


def mapping_of(key: Check, check: Check, longest: int = 100) -> Check:
    """A mapping whose keys pass one check and whose values another."""

    def check_mapping(value: Any, place: str) -> None:
        _mapping(value, place, longest)
        for name, each in value.items():
            key(name, f"{place}: the key")
            check(each, _join(place, name))

    return check_mapping


def _mapping(value: Any, place: str, longest: int = 1000) -> None:
    if not isinstance(value, dict) or len(value) > longest:
        _refuse(place or "it", value, f"must be a mapping of at most {longest} keys")


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


# ------------------------------------------------------------------------------------- targets that a file may name

_NAME = pattern(r"[A-Za-z]\w{0,99}", "a name")  # of an argument; Hydra's own begin with an underscore
_SCALAR = either(one_of(None, True, False), number(-1e300, 1e300), text(4096))
_ARGUMENT = either(list_of(_SCALAR), _SCALAR)
_KEY = re.compile(r"[\w-]+", re.ASCII)
_HYDRA = re.compile(r"_\w*_")


_NAMED_STREAMS = ("Flow", "Frame", "TwoStream")
# Names, not imports: those modules read files through this one. A test holds the lists against the packages.
MODULES = ("FlowModule", "FrameModule", "MultiStreamModule", "StreamModule", "TwoStreamModule")
DATAMODULES = (
    *(f"{name}{streams}DataModule" for name in ("Folder", "HMDB51", "JHMDB", "UCF101") for streams in _NAMED_STREAMS),
    *("ClipDataModule", "Stanford40FrameDataModule", "StillDataModule"),
)
DATASETS = ("folder.Folder", "hmdb51.HMDB51", "jhmdb.JHMDB", "stanford40.Stanford40", "ucf101.UCF101")
READERS = ("actionrec.streams.Flow",)  # streams that write nothing into their folder
SCHEDULES = ("cosine", "cyclic", "onecycle")
CALLBACKS = (
    *("BestCheckpoint", "Divergence", "LogEpochLine", "LastCheckpoint", "LogLearningRate", "LogLineage", "Progress"),
    *("ProgressBar", "SaveRngState", "LogThroughput", "LogFirstBatch", "LogValidationImages"),
)


def _of_ours(package: str, names: Sequence[str]) -> set[str]:
    return {f"actionrec.{package}.{name}" for name in names}


def _modules() -> set[str]:
    return _of_ours("modules", (*MODULES, "create"))


def _datamodules() -> set[str]:
    return _of_ours("datamodules", (*DATAMODULES, "create"))


def _datasets() -> set[str]:
    return _of_ours("datasets", DATASETS)


def _modalities() -> set[str]:
    from actionrec import streams

    return _subclasses(streams, streams.Modality) - _subclasses(streams.base, streams.Modality)


def _optimizers() -> set[str]:
    import torch

    return _subclasses(torch.optim, torch.optim.Optimizer)


def _schedulers() -> set[str]:
    import torch

    return _of_ours("modules.schedules", SCHEDULES) | _subclasses(
        torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler
    )


def _callbacks() -> set[str]:
    lightnings = "EarlyStopping EMAWeightAveraging LearningRateMonitor ModelCheckpoint WeightAveraging"
    own = _of_ours("callbacks", CALLBACKS)
    return own | {f"lightning.pytorch.callbacks.{name}" for name in (*lightnings.split(), "StochasticWeightAveraging")}


_LOGGERS = ("CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger")


def _loggers() -> set[str]:
    own = {"actionrec.callbacks.tensorboard.TensorBoard", "actionrec.tensorboard.TensorBoard"}  # now and before
    return own | {f"lightning.pytorch.loggers.{name}" for name in _LOGGERS}


def _profilers() -> set[str]:
    return {f"lightning.pytorch.profilers.{name}" for name in ("AdvancedProfiler", "SimpleProfiler")}


def _trainers() -> set[str]:
    return {"actionrec.system.hardware.create_trainer", "actionrec.hardware.create_trainer"}  # now and before


def _subclasses(module: Any, base: type) -> set[str]:
    """Full names of a package's public classes that are of `base`, as `package.Class` and as where they are defined."""
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, base)]
    return {f"{place}.{each.__name__}" for each in found for place in (module.__name__, each.__module__)}


# Where a target may stand: a key of the configuration, `*` for any one key.
PLACES: dict[str, Callable[[], set[str]]] = {
    "dataset": _datasets,
    "data": _datamodules,
    "data.dataset": _datasets,
    "data.*": _modalities,
    "model": _modules,
    "optimizer": _optimizers,
    "model.optimizer": _optimizers,
    "scheduler": _schedulers,
    "model.scheduler": _schedulers,
    "callbacks.*": _callbacks,
    "logger": _loggers,
    "logger.*": _loggers,
    "trainer": _trainers,
    "trainer.profiler": _profilers,
}
# Arguments of those that are places of files: folders at or below the run's own working folder, and names in them.
FOLDERS = ("config", "default_root_dir", "dirpath", "save_dir")
NAMES = ("filename", "name", "prefix", "sub_dir", "version")


def check_targets(config: dict[str, Any], where: Path, trust: Sequence[str] = ()) -> None:
    """Raise unless everything that Hydra would make of a file's settings is of this project, torch or Lightning.

    Each `_target_` must be of the list of its place (`PLACES`), or a class or function of a module that `trust` names.
    `_args_` and `_partial_`, by which further objects could be had, are refused, and so are arguments that would have
    files read or written elsewhere than below the run's own `work_dir`; those of `data` are for `check_data`.

    Args:
        config: as `read_config` gives it.
        where: the file, for the message.
        trust: names of modules (`mylab`, `mylab.networks`) that the user trusts; these are imported.

    Raises:
        ActionRecError: something is not allowed.
    """
    try:
        _walk(config, "", config.get("work_dir"), trust)
    except UnfitError as error:
        raise ActionRecError(f"{where}: {error}") from None


def _walk(node: Any, place: str, work_dir: Any, trust: Sequence[str], depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise UnfitError(f"{place[:60]}… is nested too deeply")
    if isinstance(node, Mapping):
        for key, value in node.items():
            here = _join(place, _shown(key))
            # A dot or a bracket within a key would be a path to Hydra: `a._target_` sets the target of `a`.
            if type(key) is not str or not (_KEY.fullmatch(key) or place == "compile.options"):
                raise UnfitError(f"{here} is no key")
            if _HYDRA.fullmatch(key):
                _check_hydra_key(key, value, place, trust)
            elif "_target_" in node and key in (*FOLDERS, *NAMES):
                _check_below(value, here, work_dir, key in FOLDERS)
            _walk(value, here, work_dir, trust, depth + 1)
    elif type(node) in (list, tuple):
        for index, value in enumerate(node):
            _walk(value, f"{place}[{index}]", work_dir, trust, depth + 1)
    elif node is not None and type(node) not in (bool, int, float, str):
        _refuse(place, node, "must be plain data")
    elif type(node) is str and "${" in node:
        _refuse(place, node, "must be resolved; a file's interpolations are not")


def _check_hydra_key(key: str, value: Any, place: str, trust: Sequence[str]) -> None:
    here = _join(place, key)
    if key == "_target_":
        check_target(value, here, _allowed(place), trust)
    elif key == "_recursive_":
        one_of(True, False)(value, here)
    elif key == "_convert_":
        one_of("none", "partial", "object", "all")(value, here)
    else:
        raise UnfitError(f"{here}: a file may not say this; leave it out")


def _allowed(place: str) -> set[str]:
    listed = PLACES.get(place) or PLACES.get(f"{place.rpartition('.')[0]}.*")
    return listed() if listed else set()


def check_target(value: Any, place: str, allowed: set[str], trust: Sequence[str] = ()) -> None:
    """Raise `ValueError` unless a `_target_` is one of those allowed, or of a trusted module."""
    if type(value) is str and value in allowed:
        return
    if type(value) is str and _is_trusted(value, [trust] if isinstance(trust, str) else trust):
        return
    pattern(r"[A-Za-z_]\w*(\.\w+)*", "the name of a class")(value, place)
    raise UnfitError(f"{place}={_shown(value)}: no file may name this here, unless it is of your own: trust=<module>")


def _is_trusted(target: str, trust: Sequence[str]) -> bool:
    """Whether a dotted name is a class or function that a trusted module defines, not just one that it has imported."""

    def inside(name: str) -> bool:
        return any(name == each or name.startswith(f"{each}.") for each in trust)

    if not inside(target) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target):
        return False
    first, *rest = target.split(".")
    try:
        found, name = importlib.import_module(first), first
        for part in rest:
            if not hasattr(found, part):
                importlib.import_module(f"{name}.{part}")
            found, name = getattr(found, part), f"{name}.{part}"
    except (ImportError, AttributeError) as error:
        raise UnfitError(f"{target[:80]} cannot be imported ({reason(error)})") from None
    return callable(found) and inside(str(getattr(found, "__module__", "")))


def _check_below(value: Any, place: str, work_dir: Any, folder: bool) -> None:
    """Raise unless a folder is the working folder or below it, or a name stays where it is put."""
    if value is None or (type(value) is int and not folder):
        return
    text(4096)(value, place)
    inside = Path(value).is_relative_to(work_dir if type(work_dir) is str else "/dev/null")
    if ".." in Path(value).parts or (not inside if folder else Path(value).is_absolute()):
        _refuse(place, value, "must lie below the run's own work_dir")


# ------------------------------------------------------------------------------------------- a run's configuration


def read_config(path: Path) -> dict[str, Any]:
    """A run's `config.yaml` as plain types: numbers as OmegaConf reads them (1e-4 is one), nothing resolved.

    Settings of earlier versions are made those of today, see `settings.earlier`.

    Raises:
        ActionRecError: the file is missing, large, no UTF-8, no mapping of plain types, or has tags, aliases or
            interpolations, which a run's never has.
    """
    mend = "it is no run's config.yaml; take the folder out, or train the run again"
    try:
        content = _text(path)
        _check_events(content, yaml.MappingStartEvent, resolved=True)
        found = OmegaConf.to_container(OmegaConf.create(content), resolve=False)
        _check_plain(found)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ActionRecError(f"{path}: {reason(error)}; {mend}") from None
    return renew(found)  # type: ignore[arg-type]


def read_overrides(path: Path) -> list[str]:
    """A job's `overrides.yaml` as it was typed, nothing resolved.

    Raises:
        ActionRecError: the file is missing, large, no UTF-8, or no list of texts.
    """
    try:
        content = _text(path)
        _check_events(content, yaml.SequenceStartEvent, resolved=False)
        found = yaml.safe_load(content)
        list_of(text(10_000, resolved=False))(found, "overrides")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ActionRecError(f"{path}: {reason(error)}; it is no job's overrides.yaml; train the job again") from None
    return found


def read_json(path: Path, kind: type = dict, mend: str = "delete it, and have it made again") -> Any:
    """A JSON file that holds a mapping (`kind` dict) or a list; NaN and infinities, which JSON lacks, are read as None.

    The message of what is wrong ends in `mend`.

    Raises:
        ActionRecError: the file is missing, large, or something else.
    """
    try:
        found = json.loads(_text(path, LARGEST_JSON), parse_constant=lambda _: None)
        if type(found) is not kind:
            raise ValueError(f"it holds no {'mapping' if kind is dict else 'list'}")
    except (OSError, ValueError, RecursionError) as error:
        said = f"{path}: not what was written there ({reason(error)})"
        raise ActionRecError(f"{said}; {mend}") from None
    return found


def read_metrics(path: Path) -> dict[str, Any]:
    """A run's `metrics.json`: numbers by tag, accuracies from 0 to 1; and tables, which are not looked at.

    Raises:
        ActionRecError: the file is missing, or something else.
    """
    found = read_json(path, mend="move it away, and measure the run with actionrec evaluate")
    for tag, value in found.items():
        if type(value) in (int, float):
            try:
                number(*((0, 1) if "/acc" in tag else (-1e15, 1e15)))(value, _shown(tag))
            except UnfitError as error:
                raise ActionRecError(f"{path}: {error}; measure the run with actionrec evaluate") from None
    return found


def _text(path: Path, largest: int = LARGEST_CONFIG) -> str:
    if not path.is_file():
        raise ActionRecError(f"there is no {path}; name a run's folder")
    if path.stat().st_size > largest:
        raise ValueError(f"it has more than {largest >> 10} KiB")
    return path.read_text(encoding="utf-8-sig")


def _check_events(content: str, start: type[yaml.Event], resolved: bool) -> None:
    """Raise unless YAML starts as it should, has no aliases and tags, and is not nested deeply.

    Args:
        content: the text.
        start: what it must start with.
        resolved: whether interpolations are refused.
    """
    depth, first = 0, True
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.AliasEvent) or event.anchor:
                raise ValueError("it has aliases")
            if event.tag and event.tag != "!":  # what quotes give
                raise ValueError("it has tags")
            if first and not isinstance(event, start):
                raise ValueError("it is no mapping" if start is yaml.MappingStartEvent else "it is no list")
            if resolved and isinstance(event, yaml.ScalarEvent) and "${" in event.value:
                raise ValueError(f"{_shown(event.value)} is an interpolation, which a file's settings may not have")
            first = False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
    if first:
        raise ValueError("it is empty")


def _check_plain(node: Any) -> None:
    if isinstance(node, dict):
        if strange := [key for key in node if type(key) is not str]:
            raise ValueError(f"{_shown(strange[0])} is no key")
        for value in node.values():
            _check_plain(value)
    elif isinstance(node, list):
        for value in node:
            _check_plain(value)
    elif node is not None and type(node) not in (bool, int, float, str):
        raise ValueError(f"it holds a {type(node).__name__}")


# ------------------------------------------------------------------------------------------------- torch's files


def read_tensors(path: Path, key: str, what: str) -> Any:
    """What `torch.save` wrote, on the CPU: tensors and plain data, else nothing (`weights_only=True`).

    Args:
        path: the file.
        key: the setting that names it, for the message.
        what: it should be, for the message: `a checkpoint`, `a state dict`.

    Raises:
        ActionRecError: the file is missing or something else.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ActionRecError(f"{key}={path}: no such file") from None
    except pickle.UnpicklingError:  # its own text advises to load the file without this protection
        said = "it is damaged, or holds more than tensors and plain data"
    except Exception as error:  # whatever a file that is none makes torch.load raise
        said = reason(error, 80)
    raise ActionRecError(f"{key}={path}: not {what} ({said})")


# ----------------------------------------------------------------------------- a checkpoint's lineage and arguments

_FILE_NAME = text(1000, resolved=False)  # records are called by their files
_ACTIONS = list_of(text(100), shortest=2, longest=10_000, distinct=True)
SHA256 = pattern("[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")
_CONSTANTS = list_of(number(-1e6, 1e6), shortest=1, longest=4096)

# What a flow store was made with; `params` are scalars, or lists of them, by name.
FLOW: dict[str, Check] = {
    "algorithm": text(50),
    "params": mapping_of(_NAME, _ARGUMENT),
    "bound": number(1e-6, 1e4),
    "short_side": optional(integer(16, 10_000)),
}
# A data module's `inputs`, but for its streams; those of earlier versions had the settings of flow beside the size.
INPUTS: dict[str, Check] = {
    "size": integer(1, 2048),
    "position": text(50),
    "flow": table(FLOW, ("algorithm",)),
    "fields": integer(1, 1000),
    "stride": integer(1, 1000),
    "representation": text(50),
}
# Arguments of `networks.backbone.create`.
BACKBONE: dict[str, Check] = {
    "name": pattern(r"(timm:)?\w[\w.\-]*", "the name of a backbone"),
    "weights": optional(text(4096)),
    "stem": text(50),
    "mean": optional(_CONSTANTS),
    "std": optional(_CONSTANTS),
    "image_size": optional(integer(1, 2048)),
}
_REBUILT = {**BACKBONE, "weights": one_of(None)}  # a checkpoint has the weights; nothing else is to be read for them


def _model(value: Any, place: str) -> None:
    one_of(*MODULES)(value, place)


_SINGLE = table(BACKBONE, ("name",))
_BEFORE = ("frame", "flow")  # the streams of networks of earlier versions


def _backbones(value: Any, place: str) -> None:
    """The backbone of each stream, or of earlier versions of the only one."""
    alone = isinstance(value, Mapping) and "name" in value and not isinstance(value["name"], Mapping)
    (_SINGLE if alone else mapping_of(_NAME, _SINGLE))(value, place)


def _stream(trust: Sequence[str]) -> Check:
    """A modality and its settings."""
    scalar = either(one_of(None, True, False), number(-1e4, 1e4), text(4096))  # numbers of channels are among them
    return _arguments(_modalities, trust, either(mapping_of(_NAME, _ARGUMENT), list_of(scalar), scalar))


def _inputs(trust: Sequence[str]) -> Check:
    """A data module's `inputs`; of each stream the modality and its settings, which say of no place to read from."""
    settings = _stream(trust)

    def check(value: Any, place: str) -> None:
        settings(value, place)
        if "folder" in value:
            raise UnfitError(f"{place}.folder: a checkpoint may not say where files are")

    return table({**INPUTS, "streams": mapping_of(_NAME, check)})


def _streams(inputs: Any) -> Sequence[str]:
    """The names of the streams that checked `inputs` have, or may have had in an earlier version."""
    streams = inputs.get("streams") if isinstance(inputs, Mapping) else None
    return tuple(streams) if isinstance(streams, Mapping) else _BEFORE


# See `modules.checkpoint.Lineage`; but for `inputs`, and for `parents`, which holds lineages again.
LINEAGE: dict[str, Check] = {
    "model": _model,
    "stage": text(200),
    "data": text(200),
    "split": optional(integer(0, 1000)),
    "seed": integer(0, 2**32 - 1),
    "actions": _ACTIONS,
    "backbone": _backbones,
    "trained_on": list_of(_FILE_NAME, longest=10_000_000),
    "versions": mapping_of(text(100), text(200)),
    "normalisation": mapping_of(_NAME, table({"mean": _CONSTANTS, "std": _CONSTANTS}, ("mean", "std"))),
}
_NEEDED = ("model", "stage", "data", "split", "seed", "actions", "backbone", "inputs", "trained_on")
_FILE = {"path": text(4096, resolved=False), "sha256": SHA256}  # of a parent, beside a lineage without `trained_on`


def check_lineage(lineage: Any, path: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """A checkpoint's `lineage`, which is what it should be: the keys, types and ranges of `LINEAGE`.

    Args:
        lineage: as the file has it.
        path: the file, for the message.
        trust: see `check_targets`.

    Returns:
        The lineage, `parents` and `versions` empty where it has none.

    Raises:
        ActionRecError: it has another key, or a value that is none.
    """
    try:
        return _checked_lineage(lineage, "lineage", {**LINEAGE, "inputs": _inputs(trust)}, _NEEDED, 0)
    except UnfitError as error:
        raise ActionRecError(f"{path}: {error}; {_MEND}") from None


_MEND = "it is no checkpoint of this version of actionrec, or it was tampered with; train the stage again"


def _checked_lineage(
    lineage: Any, place: str, known: Mapping[str, Check], needed: Sequence[str], generation: int
) -> dict[str, Any]:
    _mapping(lineage, place)
    if generation > _GENERATIONS:
        raise UnfitError(f"{place[:60]}… has more than {_GENERATIONS} generations")
    parents = lineage.get("parents", {})
    table(known, needed)({key: value for key, value in lineage.items() if key != "parents"}, place)
    _check_names(lineage, place)
    _mapping(parents, f"{place}.parents", 16)
    checked = {}
    of_parents = {**{key: check for key, check in known.items() if key != "trained_on"}, **_FILE}
    for role, parent in parents.items():
        _NAME(role, f"{place}.parents: the key")
        checked[role] = _checked_lineage(parent, f"{place}.parents.{role}", of_parents, (), generation + 1)
    return {"versions": {}, **lineage, "parents": checked}


def _check_names(lineage: Mapping[str, Any], place: str) -> None:
    """Raise unless backbones are of the streams that the inputs have."""
    backbones = lineage.get("backbone", {})
    if "inputs" in lineage and "name" not in backbones and set(backbones) - {*_streams(lineage["inputs"])}:
        raise UnfitError(f"{place}.backbone has other streams than {place}.inputs")


def check_hyper_parameters(hparams: Any, path: Path, trust: Sequence[str] = ()) -> None:
    """Raise unless a checkpoint's hyper-parameters are arguments of our modules.

    Args:
        hparams: as the file has them.
        path: the file, for the message.
        trust: see `check_targets`.

    Raises:
        ActionRecError: they have another key, a value that is none, or a `_target_` that no file may name.
    """
    optimizer, scheduler = _arguments(_optimizers, trust), _arguments(_schedulers, trust)
    backbone = table(_REBUILT, ("name",))
    streams = _streams(hparams.get("inputs") if isinstance(hparams, Mapping) else None)
    known: dict[str, Check] = {
        **{name: table({"backbone": backbone}, ("backbone",)) for name in streams if type(name) is str},
        "backbone": backbone,  # this one and the next two are of earlier versions
        "frame_backbone": backbone,
        "flow_backbone": backbone,
        "actions": _ACTIONS,
        "inputs": _inputs(trust),
        "optimizer": optimizer,
        "scheduler": either(one_of(None, {}), scheduler),
        "label_smoothing": number(0, 1),
        "dropout": number(0, 1),
        "decay_norms": one_of(True, False),
        "head_lr_factor": number(0, 1e6),
        "backbone_lr_factor": number(0, 1e6),
        "batch_norm": one_of("train", "partial", "frozen"),
        "fusion": text(50),
        "frozen": list_of(one_of(*streams), longest=len(streams)),
    }
    try:
        table(known)(hparams, "hyper_parameters")
    except UnfitError as error:
        raise ActionRecError(f"{path}: {error}; {_MEND}") from None


def _arguments(allowed: Callable[[], set[str]], trust: Sequence[str], argument: Check = _ARGUMENT) -> Check:
    """A mapping with a `_target_` and arguments, by default scalars or lists of them."""

    def check(value: Any, place: str) -> None:
        _mapping(value, place, 100)
        for key, each in value.items():
            if key == "_target_":
                check_target(each, f"{place}._target_", allowed(), trust)
                continue
            _NAME(key, f"{place}: the key")
            argument(each, _join(place, key))
        if "_target_" not in value:
            raise UnfitError(f"{place}._target_ is missing")

    return check


# ------------------------------------------------------------------------------------------------- a data module's


DATA: dict[str, Check] = {
    "actions": either(one_of("shared", "all"), _ACTIONS),
    "strict": one_of(True, False),
    "size": INPUTS["size"],
    "batch_size": integer(1, 1 << 20),
    "num_workers": either(one_of("auto"), integer(0, 1024)),
    "crops": integer(1, 100),
    "cache": one_of(None, "ram"),
    "augmentation": text(50),
    "position": INPUTS["position"],
    "segments": integer(1, 1000),
}
# Arguments of a data set.
DATASET: dict[str, Check] = {
    "name": text(200),
    **dict.fromkeys(("root", "videos", "splits"), optional(text(4096))),
    "split": integer(0, 1000),
    "protocol": text(50),
    **dict.fromkeys(("csv", "split_file", "group_pattern"), optional(text(4096))),
    "seed": integer(0, 2**32 - 1),
}


def check_data(data: Any, where: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """A file's `data`, if Hydra may make a data module of it.

    Args:
        data: as `read_config` gives it.
        where: the file, for the message.
        trust: see `check_targets`; classes of streams may be of those modules.

    Raises:
        ActionRecError: it names another class than one of ours, or an argument is none.
    """
    try:
        _mapping(data, "data")
        check_target(data.get("_target_"), "data._target_", _datamodules())
        section = data.get("dataset")
        _mapping(section, "data.dataset")
        check_target(section.get("_target_"), "data.dataset._target_", _datasets())
        table(DATASET)({key: value for key, value in section.items() if key != "_target_"}, "data.dataset")
        streams = {key: value for key, value in data.items() if isinstance(value, dict) and key != "dataset"}
        mapping_of(_NAME, _stream(trust), 16)(streams, "data")
        table(DATA)({key: each for key, each in data.items() if key not in ("_target_", "dataset", *streams)}, "data")
    except UnfitError as error:
        raise ActionRecError(f"{where}: {error}") from None
    return data


def writes(stream: Any) -> bool:
    """Whether a part of a file's `data` is a stream that may write pictures into its folder."""
    return isinstance(stream, dict) and "folder" in stream and stream.get("_target_") not in READERS
