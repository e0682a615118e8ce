"""What the value of a setting may be: each rule gives the words that say so, or None for a value that is right."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from actionrec.system.hardware import usable_cores

Rule = Callable[[Any], str | None]

MAX_NAME_BYTES = 200  # of the 255 that file systems take, some are for `.partial` and temporary names
WORKING_SUFFIXES = (".partial", ".replaced")  # of run folders


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(shown, values))


def shown(value: Any) -> str:
    """A value as the command line would say it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value)
    return " ".join(str(value).split())[:200]


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from `low` to `high`; a bool or a float is none."""
    words = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def check(value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool)
        return None if right and low <= value and (high is None or value <= high) else words

    return check


def number(low: float, high: float | None = None, above: bool = False) -> Rule:
    """A finite number from `low`, or above it, to `high`."""
    words = f"a number {'above' if above else 'of at least'} {low:g}" if math.isfinite(low) else "a number"
    if high is not None:
        words = f"a number {'above' if above else 'from'} {low:g} {'and at most' if above else 'to'} {high:g}"

    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return words
        return None if (low < value if above else low <= value) and (high is None or value <= high) else words

    return check


def one_of(*choices: Any) -> Rule:
    """One of these values."""
    *most, last = map(shown, choices)
    words = f"one of {', '.join(most)}, {last}" if len(most) > 1 else " or ".join([*most, last])

    def check(value: Any) -> str | None:
        return None if any(type(value) is type(choice) and value == choice for choice in choices) else words

    return check


def maybe(rule: Rule, *others: Any) -> Rule:
    """What `rule` takes, or one of the `others`."""

    def either(value: Any) -> str | None:
        words = rule(value)
        return None if words is None or one_of(*others)(value) is None else f"{_listed(others)}, or {words}"

    return either


def or_class(rule: Rule) -> Rule:
    """What `rule` takes, or a class of the user's own by its full name, with arguments beside it."""

    def either(value: Any) -> str | None:
        words = rule(value)
        own = isinstance(value, Mapping) and isinstance(value.get("_target_"), str)
        return None if words is None or own else f"{words}, or {{_target_: <package>.<module>.<class>}}"

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
    right = isinstance(value, Sequence) and not isinstance(value, str) and not any(map(text, value))
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


def direction(metric: str) -> str:
    """`min` where the lower value of a metric is the better, as of a loss or an error; else `max`."""
    return "min" if metric.endswith(("loss", "ece")) else "max"


flag = one_of(True, False)
amount = whole(0)
