"""Extracted flow on disk: one zip file per clip, `<store>/<action>/<clip>.zip`.

The file holds `header.json` and one gray JPEG per field, `00000.jpg` …, of shape (2H, W) with x above y, so that any
window of fields is read without decoding the others. `python -m benchmarks.flow formats` compares this format with
alternatives.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.settings.untrusted import FLOW
from actionrec.settings.values import SHA256, integer, one_of, table
from actionrec.storage import pictures as picture_zip
from actionrec.storage.pictures import identify
from actionrec.system.errors import ActionRecError

FORMAT = 2
_HINT = "extract the flow with actionrec extract_flow"


@dataclass(frozen=True)
class FlowSettings:
    """The settings that determine the values of a field; a network needs flow of the settings it was trained with.

    Raises:
        ActionRecError: a setting is out of its range.
    """

    algorithm: str
    params: Mapping[str, Any] = field(default_factory=dict)
    bound: float = 20.0  # pixels
    short_side: int | None = None  # pixels to which the frames' shorter side is resized; None keeps the frames' size

    def __post_init__(self) -> None:
        if not isinstance(self.bound, (int, float)) or not 0 < self.bound < float("inf"):
            raise ActionRecError(f"flow.bound={self.bound}: use the largest displacement in pixels, a positive number")
        if self.short_side is not None and (not isinstance(self.short_side, int) or self.short_side < 16):
            raise ActionRecError(f"flow.short_side={self.short_side}: use null, or at least 16 pixels")

    def __str__(self) -> str:
        params = " ".join(f"{key}={value}" for key, value in self.params.items())
        size = f" short_side={self.short_side}" if self.short_side else ""
        return f"{self.algorithm}({params}) bound={self.bound:g}{size}"


@dataclass(frozen=True)
class FlowHeader:
    """Header of a file of the store: its settings, the number and size of its fields, and the identity of its clip."""

    settings: FlowSettings
    fields: int
    height: int
    width: int
    source_bytes: int
    source_sha256: str


_HEADER = table(
    {
        "format": one_of(FORMAT),
        "settings": table(FLOW, ("algorithm",)),
        "fields": integer(1, 10_000_000),
        "height": integer(1, 65_535),
        "width": integer(1, 65_535),
        "source_bytes": integer(0, 2**62),
        "source_sha256": SHA256,
    },
    [each.name for each in dataclasses.fields(FlowHeader)],
)


class OtherSettingsError(ActionRecError):
    """The stored flow of a clip was extracted with other settings than the requested ones."""


def write(path: Path, clip: Clip, fields: Iterable[np.ndarray], settings: FlowSettings) -> int:
    """Write the codes of a clip's fields, each (2, H, W) uint8, one by one; returns the number of fields.

    An error leaves no file.
    """
    count, shape = 0, (0, 0)
    with picture_zip.create(path) as file:
        for codes in fields:
            file.add(count, as_picture(codes))
            count, shape = count + 1, codes.shape[1:]
        if not count:
            raise ActionRecError(f"{clip.path} has one frame only, flow needs two; take it out of the lists")
        header = FlowHeader(settings, count, *shape, **identify(clip))
        file.add_header({"format": FORMAT, **asdict(header)})
    return count


def read_header(path: Path) -> FlowHeader:
    """The header of a stored clip.

    Raises:
        ActionRecError: the file is missing or damaged.
    """
    values = picture_zip.read_header(path, _HINT)
    try:
        if values.get("format") != FORMAT:
            raise ValueError("it has another format")
        _HEADER(values, "")
    except ValueError as error:
        raise ActionRecError(f"{path} has no readable header ({error}); {_HINT}") from None
    settings = FlowSettings(**values.pop("settings"))
    return FlowHeader(settings, **{key: value for key, value in values.items() if key != "format"})


def read_fields(path: Path, indices: Iterable[int]) -> np.ndarray:
    """Codes (T, 2, H, W) uint8 of the fields at `indices`.

    Raises:
        ActionRecError: the file is missing or damaged, or lacks one of the fields.
    """
    fields = list(_fields(path, indices))
    if len({codes.shape for codes in fields}) > 1:
        raise ActionRecError(f"{path} has fields of several sizes; delete it, then {_HINT}")
    return np.stack(fields)


def as_picture(codes: np.ndarray) -> np.ndarray:
    """A field's codes (2, H, W) as the stored picture (2H, W)."""
    return codes.reshape(-1, codes.shape[-1])


def check_settings(path: Path, wanted: FlowSettings) -> FlowHeader:
    """The header of a stored clip, whose flow has to be of these settings.

    Raises:
        OtherSettingsError: the flow was extracted with other settings.
        ActionRecError: the file is missing or damaged.
    """
    header = read_header(path)
    if header.settings != wanted:
        raise OtherSettingsError(
            f"{path} holds flow of {header.settings}, the experiment asks for {wanted}; "
            "set flow= to match, or extract into another paths.flow"
        )
    return header


def is_complete(path: Path, clip: Clip, settings: FlowSettings) -> bool:
    """Whether the clip's flow exists, loads, and was extracted from a clip of the same size and SHA-256.

    Raises:
        OtherSettingsError: the flow exists and was extracted with other settings, so it must not be overwritten.
    """
    try:
        header = check_settings(path, settings)
        read_fields(path, [header.fields - 1])
    except OtherSettingsError:
        raise
    except ActionRecError:
        return False
    return _is_of(header, clip)


def verify(path: Path, clip: Clip, settings: FlowSettings) -> int:
    """Read every field of a stored clip; returns the number of fields.

    Raises:
        ActionRecError: the file is missing or damaged, or was extracted with other settings or from another clip.
    """
    header = check_settings(path, settings)
    for index, codes in enumerate(_fields(path, range(header.fields))):
        if codes.shape != (2, header.height, header.width):
            raise ActionRecError(
                f"{path}: field {index} has another size than its header says; delete it, then {_HINT}"
            )
    if not _is_of(header, clip):
        raise ActionRecError(f"{path} was extracted from another {clip.path.name}; {_HINT}")
    return header.fields


def _fields(path: Path, indices: Iterable[int]) -> Iterator[np.ndarray]:
    for picture in picture_zip.read(path, indices, cv2.IMREAD_GRAYSCALE, _HINT):
        if len(picture) % 2:
            raise ActionRecError(f"{path} has a picture that is no field; delete it, then {_HINT}")
        yield picture.reshape(2, -1, picture.shape[1])


def _is_of(header: FlowHeader, clip: Clip) -> bool:
    return {key: getattr(header, key) for key in ("source_bytes", "source_sha256")} == identify(clip)
