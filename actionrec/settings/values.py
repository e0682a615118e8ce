"""Checks of a value: its type, its range, and the content of lists and mappings.

Settings of the command line (`settings.rules`) and the content of files (`settings.untrusted`) use the same checks. A
check takes a value and the place that the value has, such as `data.size`, and raises `UnfitError` where the value is
wrong. Types are compared exactly: True is not an integer, and a subclass of str is not a text.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from omegaconf import DictConfig, ListConfig, OmegaConf

MAX_SEED = 2**32 - 1  # the largest that numpy takes


class Check(Protocol):
    """Returns None for a value that fits, else raises `UnfitError`."""

    def __call__(self, value: Any, place: str = "", /) -> None: ...


def in_schema(**keywords: Any) -> Callable[[Check], Check]:
    """Decorate a check with the keywords of JSON Schema for the values that pass, see `schema_of`."""

    def decorate(check: Check) -> Check:
        check.schema = keywords  # type: ignore[attr-defined]
        return check

    return decorate


def schema_of(check: Check) -> dict[str, Any]:
    """The JSON Schema of the values that pass a check; {} for any value. It may allow more than the check."""
    return dict(getattr(check, "schema", {}))


class UnfitError(ValueError):
    """A value does not fit its place.

    Args:
        message: one line that names the place and the value.
        place: dotted key of the value; of an entry of a list or a mapping, the key of the entry.
        wanted: a noun phrase for the values that fit, such as `a whole number from 1 to 5`; may be empty.
    """

    def __init__(self, message: str, place: str = "", wanted: str = ""):
        super().__init__(message)
        self.place, self.wanted = place, wanted


def refuse(place: str, value: Any, wanted: str) -> NoReturn:
    """Raise `UnfitError` for a value that is not `wanted`."""
    raise UnfitError(f"{place}={brief(value)}: must be {wanted}", place, wanted)


def fits(check: Check, value: Any) -> bool:
    """Whether a value passes a check."""
    try:
        check(value)
    except UnfitError:
        return False
    return True


# ----------------------------------------------------------------------------------------------- values in messages


def shown(value: Any) -> str:
    """A setting as the command line spells it, at most 200 characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value)
    return " ".join(str(value).split())[:200]


def brief(value: Any) -> str:
    """A value of a file for a message: bounded in length and in time."""
    if type(value) is str:
        return printable(value)
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 1 << 64):
        return str(value)
    return f"<{type(value).__name__}>"


def printable(value: str, longest: int = 40) -> str:
    """A text of a file for a message, cut to `longest` characters and without escape sequences of terminals."""
    return "".join(letter if letter.isprintable() else "?" for letter in value[:longest]) + "…" * (len(value) > longest)


def reason(error: BaseException, longest: int = 150) -> str:
    """The message of an error as one line, cut to `longest` characters and without escape sequences of terminals."""
    return printable(" ".join(str(error).split()) or type(error).__name__, longest)


# -------------------------------------------------------------------------------------------------- texts and numbers

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and lone surrogates


def text(longest: int = 200, resolved: bool = True, blank: bool = True) -> Check:
    """A string without control characters.

    Args:
        longest: number of characters.
        resolved: refuse `${` and `???`, which OmegaConf would read as an interpolation and as a missing value.
        blank: allow the empty text and white space alone.
    """

    @in_schema(type="string")
    def check(value: Any, place: str = "") -> None:
        if type(value) is not str or len(value) > longest:
            refuse(place, value, f"a text of at most {longest} characters")
        if _CONTROL.search(value):
            refuse(place, value, "a text without control characters")
        if resolved and ("${" in value or value == "???"):
            refuse(place, value, "a text without interpolations")
        if not blank and not value.strip():
            refuse(place, value, "a text that is not empty")

    return check


def pattern(expression: str, wanted: str) -> Check:
    """A string of at most 200 characters that a regular expression matches from end to end."""

    @in_schema(type="string")
    def check(value: Any, place: str = "") -> None:
        if type(value) is not str or len(value) > 200 or not re.fullmatch(expression, value, re.ASCII):
            refuse(place, value, wanted)

    return check


SHA256 = pattern("[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")


def integer(low: int, high: int | None = None) -> Check:
    """An integer from `low` to `high`, both included."""
    wanted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    @in_schema(type="integer", minimum=low, **({} if high is None else {"maximum": high}))
    def check(value: Any, place: str = "") -> None:
        if type(value) is not int or value < low or (high is not None and value > high):
            refuse(place, value, wanted)

    return check


def number(low: float, high: float = math.inf, above: bool = False) -> Check:
    """A finite number from `low` to `high`, both included; with `above`, `low` itself is excluded."""
    wanted = f"a number {'above' if above else 'of at least'} {low:g}" if math.isfinite(low) else "a number"
    if math.isfinite(high):
        wanted = f"a number above {low:g} and at most {high:g}" if above else f"a number of {low:g} to {high:g}"
    limits = {"exclusiveMinimum" if above else "minimum": low, "maximum": high}

    @in_schema(type="number", **{key: value for key, value in limits.items() if math.isfinite(value)})
    def check(value: Any, place: str = "") -> None:
        # NaN fails every comparison. math.isfinite would overflow for large integers.
        if type(value) not in (int, float) or not (low <= value <= high and -math.inf < value < math.inf):
            refuse(place, value, wanted)
        if above and value == low:
            refuse(place, value, wanted)

    return check


def one_of(*choices: Any) -> Check:
    """One of these values, and of the same type: 1 is not True, and 1.0 is not 1."""
    names = [shown(choice) for choice in choices]
    wanted = f"one of {', '.join(names)}" if len(names) > 2 else " or ".join(names)

    @in_schema(enum=list(choices))
    def check(value: Any, place: str = "") -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            refuse(place, value, wanted)

    return check


def anything(value: Any, place: str = "") -> None:
    """Any value; its user checks it."""


# -------------------------------------------------------------------------------------------------------- combinations


def either(*checks: Check) -> Check:
    """A value that passes one check or more.

    The message lists the alternatives, unless the last check refuses only an entry of the value, which it then names.
    """

    @in_schema(anyOf=[schema_of(each) for each in checks])
    def check(value: Any, place: str = "") -> None:
        refused = []
        for each in checks:
            try:
                return each(value, place)
            except UnfitError as error:
                refused.append(error)
        if refused[-1].place != place or not refused[-1].wanted:
            raise refused[-1]
        *most, last = [error.wanted for error in refused if error.place == place]
        refuse(place, value, f"{', '.join(most)}, or {last}" if most else last)

    return check


def maybe(check: Check, *others: Any) -> Check:
    """A value that passes the check, or one of the others."""
    return either(one_of(*others), check)


def optional(check: Check) -> Check:
    """None, or a value that passes the check."""
    return maybe(check, None)


def worded(check: Check, wanted: str) -> Check:
    """The same check with a message of its own."""

    @in_schema(**schema_of(check))
    def check_worded(value: Any, place: str = "") -> None:
        if not fits(check, value):
            refuse(place, value, wanted)

    return check_worded


# --------------------------------------------------------------------------------------------------- lists and mappings


def list_of(check: Check, shortest: int = 0, longest: int = 1000, distinct: bool = False) -> Check:
    """A list or tuple of `shortest` to `longest` values that each pass the check; `distinct` forbids repetition."""

    @in_schema(type="array", items=schema_of(check), minItems=shortest)
    def check_list(value: Any, place: str = "") -> None:
        if type(value) not in (list, tuple, ListConfig) or not shortest <= len(value) <= longest:
            refuse(place, value, f"a list of {shortest} to {longest} values")
        for index, each in enumerate(value):
            check(each, f"{place}[{index}]")
        if distinct and len(set(value)) < len(value):
            refuse(place, value, "a list without repeated values")

    return check_list


def mapping(longest: int = 1000) -> Check:
    """A mapping of at most `longest` keys."""

    @in_schema(type="object")
    def check(value: Any, place: str = "") -> None:
        if not isinstance(value, (dict, DictConfig)) or len(value) > longest:
            refuse(place or "it", value, f"a mapping of at most {longest} keys")

    return check


def table(known: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    """A mapping whose keys are all among `known`, which has a check for each, and include the `required` ones."""

    @in_schema(type="object")
    def check(value: Any, place: str = "") -> None:
        mapping()(value, place)
        for key, each in value.items():
            if key not in known:
                raise UnfitError(f"{join(place, brief(key))}: this version has no such key")
            known[key](each, join(place, key))
        if missing := [key for key in required if key not in value]:
            raise UnfitError(f"{join(place, missing[0])} is missing")

    return check


def mapping_of(key: Check, check: Check, longest: int = 100) -> Check:
    """A mapping of at most `longest` keys, which pass the check `key`, to values that pass the check `check`."""

    @in_schema(type="object", additionalProperties=schema_of(check))
    def check_mapping(value: Any, place: str = "") -> None:
        mapping(longest)(value, place)
        for name, each in value.items():
            key(name, f"{place}: the key")
            check(each, join(place, name))

    return check_mapping


def join(place: str, key: str) -> str:
    """The dotted key of an entry."""
    return f"{place}.{key}" if place else key
