"""Random damage of files for property tests, and the number of examples."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from actionrec.system.errors import ActionRecError

T = TypeVar("T")
FACTOR = int(os.environ.get("ACTIONREC_EXAMPLES", "1"))  # 1 for a look at every commit, 100 for a long one


def examples(count: int) -> Callable[[T], T]:
    """Settings for a fixed set of examples; `ACTIONREC_EXAMPLES=100` tries a hundred times as many, random ones."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        derandomize=FACTOR == 1,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A file's bytes, truncated, flipped, overwritten, removed or inserted.

    Half of the damage is in the last 400 bytes, where a zip has its index.
    """
    place = st.one_of(st.integers(0, len(data) - 1), st.integers(max(len(data) - 400, 0), len(data) - 1))
    kind = draw(st.sampled_from(["cut", "flip", "flip", "flip", "write", "leave out", "put in"]))
    if kind == "cut":
        return data[: draw(place)]
    if kind == "flip":
        changed = bytearray(data)
        for position, bits in draw(st.lists(st.tuples(place, st.integers(1, 255)), min_size=1, max_size=4)):
            changed[position] ^= bits
        return bytes(changed)
    start, written = draw(place), draw(st.binary(min_size=1, max_size=12))
    if kind == "write":
        return data[:start] + written + data[start + len(written) :]
    if kind == "leave out":
        return data[:start] + data[start + len(written) :]
    return data[:start] + written + data[start:]


# Values that a file may hold in place of the right ones.
junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.text(max_size=12),
        st.sampled_from(
            ["${oc.env:HOME}", "???", "os.system", "../x", "\x1b[2J", "a\nb", "x" * 5000, "resnet18", "frame"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["_target_", "_args_", "_partial_", "size", "name", "flow"]), st.text(max_size=6)
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values of a tree of dictionaries and lists, and to a new key of every dictionary."""
    found = [above] if above else []
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += places(value, (*above, key))
        found.append((*above, "new"))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            found += places(value, (*above, index))
    return found


def changed(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of a tree with another value at a path."""
    if not place:
        return value
    if isinstance(tree, list):
        return [changed(each, place[1:], value) if i == place[0] else each for i, each in enumerate(tree)]
    return {**tree, place[0]: changed(tree.get(place[0], {}), place[1:], value)}


def attempt(read: Callable[[], T]) -> T | None:
    """The result of `read`, or None if it raises an `ActionRecError` of one line; other exceptions fail the test."""
    try:
        return read()
    except ActionRecError as error:
        said = str(error)
    assert said
    assert said.isprintable()
    assert len(said) < 1000
    assert "weights_only" not in said
    return None


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
