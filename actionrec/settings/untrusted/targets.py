"""Checks every `_target_` of a configuration from a file, since Hydra would import and call it."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actionrec.settings.untrusted import allowed
from actionrec.settings.values import (
    Check,
    UnfitError,
    brief,
    either,
    join,
    list_of,
    mapping,
    number,
    one_of,
    pattern,
    reason,
    refuse,
    text,
)
from actionrec.system.errors import ActionRecError

NAME = pattern(r"[A-Za-z]\w{0,99}", "a name")  # of an argument; Hydra's own keys begin with an underscore
SCALAR = either(one_of(None, True, False), number(-1e300, 1e300), text(4096))
ARGUMENT = either(list_of(SCALAR), SCALAR)
_KEY = re.compile(r"[\w-]+", re.ASCII)
_HYDRA = re.compile(r"_\w*_")


def check_targets(config: dict[str, Any], where: Path, trust: Sequence[str] = ()) -> None:
    """Raise unless Hydra would instantiate only classes of this project, torch and Lightning from a file's settings.

    Each `_target_` must be on the allow-list of its place (`allowed.PLACES`), or be a class or function that a module
    of `trust` defines. `_args_` and `_partial_`, which give access to further objects, are refused. Arguments that
    name files must stay below the run's own `work_dir`; `check_data` treats those of `data`.

    Args:
        config: as `read_config` returns it.
        where: the file, for the message.
        trust: names of modules (`mylab`, `mylab.networks`) that the user trusts; these are imported.

    Raises:
        ActionRecError: the settings hold something that is not allowed.
    """
    try:
        _walk(config, "", config.get("work_dir"), trust)
    except UnfitError as error:
        raise ActionRecError(f"{where}: {error}") from None


def check_target(value: Any, place: str, names: set[str], trust: Sequence[str] = ()) -> None:
    """Raise `UnfitError` unless a `_target_` is among `names`, or a module of `trust` defines it."""
    if type(value) is str and value in names:
        return
    if type(value) is str and _is_trusted(value, [trust] if isinstance(trust, str) else trust):
        return
    pattern(r"[A-Za-z_]\w*(\.\w+)*", "the name of a class")(value, place)
    raise UnfitError(f"{place}={brief(value)}: no file may name this here, unless it is of your own: trust=<module>")


def target_with(names: Callable[[], set[str]], trust: Sequence[str], argument: Check = ARGUMENT) -> Check:
    """A mapping with a `_target_` among `names` or of a module of `trust`, and arguments that pass `argument`."""

    def check(value: Any, place: str = "") -> None:
        mapping(100)(value, place)
        for key, each in value.items():
            if key == "_target_":
                check_target(each, f"{place}._target_", names(), trust)
                continue
            NAME(key, f"{place}: the key")
            argument(each, join(place, key))
        if "_target_" not in value:
            raise UnfitError(f"{place}._target_ is missing")

    return check


def _walk(node: Any, place: str, work_dir: Any, trust: Sequence[str], depth: int = 0) -> None:
    if depth > allowed.MAX_DEPTH:
        raise UnfitError(f"{place[:60]}… is nested too deeply")
    if isinstance(node, Mapping):
        for key, value in node.items():
            here = join(place, brief(key))
            # Hydra would read a dot or a bracket within a key as a path: `a._target_` sets the target of `a`.
            if type(key) is not str or not (_KEY.fullmatch(key) or place == "compile.options"):
                raise UnfitError(f"{here} is no key")
            if _HYDRA.fullmatch(key):
                _check_hydra_key(key, value, place, trust)
            elif "_target_" in node and key in (*allowed.FOLDERS, *allowed.NAMES):
                _check_below(value, here, work_dir, key in allowed.FOLDERS)
            _walk(value, here, work_dir, trust, depth + 1)
    elif type(node) in (list, tuple):
        for index, value in enumerate(node):
            _walk(value, f"{place}[{index}]", work_dir, trust, depth + 1)
    elif node is not None and type(node) not in (bool, int, float, str):
        refuse(place, node, "plain data")
    elif type(node) is str and "${" in node:
        refuse(place, node, "a text without interpolations")


def _check_hydra_key(key: str, value: Any, place: str, trust: Sequence[str]) -> None:
    here = join(place, key)
    if key == "_target_":
        check_target(value, here, allowed.at(place), trust)
    elif key == "_recursive_":
        one_of(True, False)(value, here)
    elif key == "_convert_":
        one_of("none", "partial", "object", "all")(value, here)
    else:
        raise UnfitError(f"{here}: a file may not say this; leave it out")


def _is_trusted(target: str, trust: Sequence[str]) -> bool:
    """Whether a dotted name is a class or function that a trusted module defines, and does not merely import."""

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
    """Raise unless a folder is the working folder or below it, or a name is relative and has no `..`."""
    if value is None or (type(value) is int and not folder):
        return
    text(4096)(value, place)
    inside = Path(value).is_relative_to(work_dir if type(work_dir) is str else "/dev/null")
    if ".." in Path(value).parts or (not inside if folder else Path(value).is_absolute()):
        raise UnfitError(f"{place}={brief(value)}: must lie below the run's own work_dir")
