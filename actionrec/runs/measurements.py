"""Protocols of measurements: the checkpoint, samples, views and precision that scores were measured with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actionrec.settings.untrusted import read_json
from actionrec.settings.values import UnfitError, either, integer, mapping_of, one_of, text
from actionrec.system.errors import ActionRecError

FILE = "measurement.json"  # by part, the protocol of the scores in the same folder
FURTHER = "measurements"  # subfolder of a run for measurements of other protocols than the run's
VIEWS = ("segments", "crops", "position", "precision")  # keys of a protocol that do not depend on checkpoint and data

Protocol = Mapping[str, Any]


def read(folder: Path) -> dict[str, Protocol]:
    """The protocols of a folder's scores, by part; empty if there is no record.

    Raises:
        ActionRecError: the record is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    content = read_json(path)
    value = either(one_of(None), integer(0, 10_000), text(200, resolved=False))
    try:
        mapping_of(text(20), mapping_of(text(100), value))(content, "")
    except UnfitError as error:
        raise ActionRecError(f"{path}: not the record of a measurement ({error}); remove the file") from None
    return content


def name(protocol: Protocol) -> str:
    """Name of a protocol, also of the folder of a further measurement: `10x3-middle-bf16-mixed`."""
    return "-".join(
        str(part) for part in (views(protocol), protocol.get("position"), protocol.get("precision")) if part
    )


def views(protocol: Protocol | None) -> str:
    """Segments by crops of a protocol, such as `5x1`; `?` for a number that is not recorded."""
    return f"{protocol.get('segments', '?')}x{protocol.get('crops', '?')}" if protocol else "?"


def same(one: Protocol, other: Protocol) -> bool:
    """Whether two protocols have the same views and precision; a value that is not recorded equals any value."""
    return not any(one.get(key) != other.get(key) for key in VIEWS if key in one and key in other)


def require_same(protocols: Mapping[str, Protocol | None]) -> None:
    """Raise unless the scores of several networks were measured with the same segments, crops and precision.

    Positions may differ, since a stage of stills has no position.

    Args:
        protocols: by the network's name; None if there is no record.
    """
    known = {network: found for network, found in protocols.items() if found}
    for network, found in known.items():
        first, reference = next(iter(known.items()))
        for key in ("segments", "crops", "precision"):
            if found.get(key) != reference.get(key):
                raise ActionRecError(
                    f"scores of {first} were measured with {key} {reference.get(key)}, scores of {network} with "
                    f"{found.get(key)}; measure both in the same way with actionrec evaluate views.segments=… "
                    "views.crops=… trainer.precision=…"
                )
