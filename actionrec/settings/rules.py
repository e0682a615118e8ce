"""Checks of settings by their kind: names, paths, lists of streams; and the error for a setting that is wrong."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actionrec.settings import values
from actionrec.settings.values import (
    Check,
    UnfitError,
    fits,
    in_schema,
    list_of,
    maybe,
    one_of,
    optional,
    refuse,
    schema_of,
    shown,
    worded,
)
from actionrec.system.errors import ActionRecError
from actionrec.system.files import WORKING_SUFFIXES
from actionrec.system.hardware import usable_cores

MAX_NAME_BYTES = 200  # file systems allow 255; suffixes such as `.partial` and temporary names need the rest


def require(key: str, value: Any, check: Check) -> None:
    """Raise `ActionRecError` unless the value of a setting passes the check: `key=value: use …`."""
    try:
        check(value, key)
    except UnfitError as error:
        raise ActionRecError(f"{key}={shown(value)}: use {error.wanted}") from None


flag = one_of(True, False)
amount = values.integer(0)
filled = worded(values.text(4096, resolved=False, blank=False), "a name")
section = worded(values.mapping(), "a mapping of settings")


# ---------------------------------------------------------------------------------------------------- names and paths


def or_class(check: Check) -> Check:
    """A value that passes the check, or a class of the user's own by its full name, with arguments beside it."""

    own = {"type": "object", "required": ["_target_"]}

    @in_schema(anyOf=[schema_of(check), own])
    def either(value: Any, place: str = "") -> None:
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str):
            return
        try:
            check(value, place)
        except UnfitError as error:
            refuse(place, value, f"{error.wanted}, or {{_target_: <package>.<module>.<class>}}")

    return either


@in_schema(type="string")
def name(value: Any, place: str = "") -> None:
    """One component of a path: the name of a run, a stage, a sweep or a data set."""
    right = (
        isinstance(value, str)
        and value == value.strip()
        and not re.search(r"[/\\\x00-\x1f\x7f]", value)
        and not value.startswith((".", "-", "~"))
        and not value.endswith(WORKING_SUFFIXES)
        and 0 < len(value.encode(errors="replace")) <= MAX_NAME_BYTES
    )
    if not right:
        refuse(place, value, "one plain folder name, without / and without a dot or dash before it")


@in_schema(type=["string", "integer"])
def tag(value: Any, place: str = "") -> None:
    """The suffix of a run's name. Hydra reads `tag=1` as a number, so integers are names here, too."""
    name(str(value) if type(value) is int else value, place)


@in_schema(type="string")
def path(value: Any, place: str = "") -> None:
    """A path, which need not exist."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        refuse(place, value, "a path")
    if value.startswith("~"):
        refuse(place, value, "a whole path such as $HOME/…, since a shell replaces ~ only where a word begins with it")


@in_schema(type="string")
def folder(value: Any, place: str = "") -> None:
    """The path of a folder, which need not exist, and has no file among its parents."""
    path(value, place)
    try:
        files = [each for each in (Path(value), *Path(value).parents) if each.exists() and not each.is_dir()]
    except OSError as error:
        refuse(place, value, f"another folder ({error.strerror})")
    if files:
        refuse(place, value, f"another folder, since {files[0]} is a file")


@in_schema(type="string")
def run_folder(value: Any, place: str = "") -> None:
    """The path of a run's folder; its last component is a `name`."""
    folder(value, place)
    if not fits(name, Path(value).name):
        refuse(place, value, "a folder with a name of its own, such as outputs/mine")


_several = worded(list_of(path, shortest=1), "a path, or a list of paths")


@in_schema(anyOf=[{"type": "string"}, schema_of(_several)])
def paths(value: Any, place: str = "") -> None:
    """A path, or a list of paths."""
    (path if isinstance(value, str) else _several)(value, place)


parents = worded(
    values.either(optional(path), values.mapping_of(filled, optional(path))),
    "null, a checkpoint's path, or {frame: <path>, flow: <path>}",
)


# --------------------------------------------------------------------------------------------------------- processes


def _most_processes() -> int:
    """Thousands of worker processes would exhaust the machine's memory."""
    return max(64, 4 * usable_cores())


@in_schema(type="integer", minimum=1)
def processes(value: Any, place: str = "") -> None:
    """A number of worker processes."""
    values.integer(1, _most_processes())(value, place)


@in_schema(type="integer", minimum=0)
def loader_processes(value: Any, place: str = "") -> None:
    """A number of loader processes; with 0, the training process itself reads the data."""
    values.integer(0, _most_processes())(value, place)


# ------------------------------------------------------------------------------------------------------------- lists

streams = worded(list_of(filled), "a list of streams such as [frame] or [frame,flow]")
modules = worded(list_of(filled), "a list of modules of yours, such as trust=[my_package]")
parts = worded(
    list_of(one_of("train", "val", "test"), shortest=1), "a list of parts, of train, val, test, such as [val,test]"
)
# `datasets.actions.class_list` checks that the data have these actions.
actions = worded(
    maybe(list_of(filled, longest=10_000), "shared", "all"),
    "shared, all, or a list such as data.actions=[clap,wave]",
)
compilation = worded(
    values.either(
        flag, values.mapping_of(one_of("fullgraph", "dynamic", "backend", "mode", "options"), values.anything)
    ),
    "true, false, or arguments of torch.compile such as {mode: max-autotune}",
)


def direction(metric: str) -> str:
    """`min` for a metric whose lower value is better, a loss or an error; else `max`."""
    return "min" if metric.endswith(("loss", "ece")) else "max"
