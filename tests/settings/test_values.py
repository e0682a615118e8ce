"""Checks of values, and the imports that modules of `settings` may have."""

import ast
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import actionrec.settings
from actionrec.settings import rules, values
from actionrec.settings.values import (
    UnfitError,
    either,
    fits,
    integer,
    list_of,
    mapping_of,
    maybe,
    number,
    one_of,
    optional,
    table,
    text,
    worded,
)
from actionrec.system.errors import ActionRecError


class Number(int):
    """An integer that may do something else than count."""


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (integer(1), [1, 10**400], [0, 1.0, True, "1", None, Number(2)]),
        (integer(1, 3), [1, 3], [0, 4]),
        (number(0), [0, 0.5, 10**400], [-1e-9, math.nan, math.inf, True, "1", None]),
        (number(0, 1), [0, 1, 0.5], [1.1, -0.1]),
        (number(0, 1, above=True), [1, 1e-9], [0, 0.0, 2]),
        (number(-math.inf), [-1e300, 3], [-math.inf, math.inf, math.nan]),
        (one_of(1, "a", None), [1, "a", None], [True, 1.0, "b"]),
        (text(3), ["", "abc", "ü"], ["abcd", "a\n", "${", "???", "\ud800", 1, None]),
        (text(9, resolved=False), ["${a}", "???"], ["\x1b"]),
        (text(9, blank=False), ["a"], ["", " "]),
        (optional(integer(1)), [None, 1], [0, "a"]),
        (maybe(integer(1), "auto", False), ["auto", False, 1], [True, "b"]),
        (list_of(integer(1), 1, 2), [[1], (1, 2), OmegaConf.create([1])], [[], [1, 2, 3], [0], "a", {1}]),
        (list_of(integer(1), distinct=True), [[1, 2]], [[1, 1]]),
        (
            table({"a": integer(1)}, ("a",)),
            [{"a": 1}, OmegaConf.create({"a": 1})],
            [{}, {"a": 0}, {"a": 1, "b": 1}, []],
        ),
        (mapping_of(text(1), integer(1), 1), [{}, {"a": 1}], [{"ab": 1}, {"a": 0}, {"a": 1, "b": 1}, [1]]),
    ],
)
def test_checks_take_the_values_that_they_name(check, right, wrong):
    assert [value for value in right if not fits(check, value)] == []
    assert [value for value in wrong if fits(check, value)] == []


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (integer(1, 5), 9, "x=9: must be a whole number from 1 to 5"),
        (number(0, 1), 7, "x=7: must be a number of 0 to 1"),
        (optional(integer(1)), "a", "x=a: must be null, or a whole number of at least 1"),
        (
            either(one_of("a", "b", True), text(9)),
            5,
            "x=5: must be one of a, b, true, or a text of at most 9 characters",
        ),
        (optional(list_of(integer(1))), [1, 0], "x[1]=0: must be a whole number of at least 1"),
        (
            table({"a": table({"b": integer(0)})}),
            {"a": {"b": None}},
            "x.a.b=None: must be a whole number of at least 0",
        ),
        (table({}), {"\x1b": 1}, "x.?: this version has no such key"),
        (table({}, ("a",)), {}, "x.a is missing"),
        (mapping_of(text(1), integer(0)), {"ab": 1}, "x: the key=ab: must be a text of at most 1 characters"),
        (list_of(worded(integer(0), "a size")), ["a" * 50], f"x[0]={'a' * 40}…: must be a size"),
        (list_of(integer(0)), 10**30, "x=<int>: must be a list of 0 to 1000 values"),
    ],
)
def test_messages_name_the_place_and_what_fits(check, value, message):
    with pytest.raises(UnfitError) as caught:
        check(value, "x")
    assert str(caught.value) == message


def test_settings_are_refused_as_the_command_line_spells_them():
    for value, check, message in (
        (None, integer(1), "data.size=null: use a whole number of at least 1"),
        (True, maybe(rules.path, None), "data.size=true: use null, or a path"),
        ([1, 2], rules.streams, "data.size=[1, 2]: use a list of streams such as [frame] or [frame,flow]"),
    ):
        with pytest.raises(ActionRecError) as caught:
            rules.require("data.size", value, check)
        assert str(caught.value) == message


def test_settings_import_nothing_from_above_and_nothing_heavy_at_the_top():
    """Allow-lists name other packages; --help must not load torch."""
    for path in Path(actionrec.settings.__path__[0]).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.split(".")[0] == "actionrec"
                assert not ours or name.startswith(("actionrec.settings", "actionrec.system")), f"{path.name}: {name}"
                heavy = name.split(".")[0] in ("torch", "torchvision", "lightning", "cv2")
                assert not (heavy and node in tree.body), f"{path.name}: {name}"


def test_a_check_of_a_long_text_costs_no_long_message():
    with pytest.raises(UnfitError) as caught:
        values.pattern("a", "an a")("b" * 10_000_000, "x")
    assert len(str(caught.value)) < 100
