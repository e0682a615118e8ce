"""Extracted flow on disk: one zip file per clip, `<store>/<action>/<clip>.zip`.

It holds `header.json` and one gray JPEG a field, `00000.jpg` …, (2H, W) with x above y, so that any window of fields is
read without the rest. `python -m benchmarks.flow formats` has the figures that chose this format.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.settings.untrusted import FLOW, SHA256, integer, one_of, table
from actionrec.storage import pictures as clipfile
from actionrec.storage.pictures import identify
from actionrec.system.errors import ActionRecError

FORMAT = 2
_MEND = "extract it with actionrec extract_flow"


@dataclass(frozen=True)
class FlowSettings:
    """What decides the values of a field; networks only fit flow made with the settings they were trained on.

    Raises:
        ActionRecError: a value is nothing for a field.
    """

    algorithm: str
    params: Mapping[str, Any] = field(default_factory=dict)
    bound: float = 20.0  # pixels
    short_side: int | None = None  # pixels of the frames' shorter side, None as they are

    def __post_init__(self) -> None:
        if not isinstance(self.bound, (int, float)) or not 0 < self.bound < float("inf"):
            raise ActionRecError(f"flow.bound={self.bound}: say how many pixels are the longest displacement")
        if self.short_side is not None and (not isinstance(self.short_side, int) or self.short_side < 16):
            raise ActionRecError(f"flow.short_side={self.short_side}: use null, or at least 16 pixels")

    def __str__(self) -> str:
        params = " ".join(f"{key}={value}" for key, value in self.params.items())
        size = f" short_side={self.short_side}" if self.short_side else ""
        return f"{self.algorithm}({params}) bound={self.bound:g}{size}"


@dataclass(frozen=True)
class FlowHeader:
    """What a file of the store says of itself."""

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
    """A stored clip was made with other settings than those asked for."""


def write(path: Path, clip: Clip, fields: Iterable[np.ndarray], settings: FlowSettings) -> int:
    """Write the codes of a clip's fields, each (2, H, W) uint8, as they come; returns how many these were.

    An error among them leaves no file.
    """
    count, shape = 0, (0, 0)

    def pictures() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal count, shape
        for codes in fields:
            shape = codes.shape[1:]
            yield count, as_picture(codes)
            count += 1

    def header() -> dict[str, Any]:
        if not count:
            raise ActionRecError(f"{clip.path} has one frame only, flow needs two; take it out of the lists")
        return {"format": FORMAT, **asdict(FlowHeader(settings, count, *shape, **identify(clip)))}

    clipfile.write(path, pictures(), header)
    return count


def read_header(path: Path) -> FlowHeader:
    """The header of a stored clip.

    Raises:
        ActionRecError: the file is missing or damaged.
    """
    values = clipfile.read_header(path, _MEND)
    try:
        if values.get("format") != FORMAT:
            raise ValueError("of another format")
        _HEADER(values, "")
    except ValueError as error:
        raise ActionRecError(f"{path} has no readable header ({error}); {_MEND}") from None
    settings = FlowSettings(**values.pop("settings"))
    return FlowHeader(settings, **{key: value for key, value in values.items() if key != "format"})


def read_fields(path: Path, indices: Iterable[int]) -> np.ndarray:
    """Codes (T, 2, H, W) uint8 of the fields at `indices`.

    Raises:
        ActionRecError: the file is missing or damaged, or has no such field.
    """
    fields = list(_fields(path, indices))
    if len({codes.shape for codes in fields}) > 1:
        raise ActionRecError(f"{path} has fields of several sizes; delete it, then {_MEND}")
    return np.stack(fields)


def as_picture(codes: np.ndarray) -> np.ndarray:
    """A field's codes (2, H, W) as the picture (2H, W) that is stored."""
    return codes.reshape(-1, codes.shape[-1])


def check_settings(path: Path, wanted: FlowSettings) -> FlowHeader:
    """The header of a stored clip, if it was made with these settings.

    Raises:
        OtherSettingsError: it was made with others.
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
    """Whether the clip's flow is there, loads, and was made from this very file.

    Raises:
        OtherSettingsError: it is there, made with other settings: no flow to be replaced by mistake.
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
    """Read all of a stored clip; returns its number of fields.

    Raises:
        ActionRecError: what is wrong with it.
    """
    header = check_settings(path, settings)
    for index, codes in enumerate(_fields(path, range(header.fields))):
        if codes.shape != (2, header.height, header.width):
            raise ActionRecError(
                f"{path}: field {index} has another size than its header says; delete it, then {_MEND}"
            )
    if not _is_of(header, clip):
        raise ActionRecError(f"{path} was extracted from another {clip.path.name}; {_MEND}")
    return header.fields


def _fields(path: Path, indices: Iterable[int]) -> Iterator[np.ndarray]:
    for picture in clipfile.read(path, indices, cv2.IMREAD_GRAYSCALE, _MEND):
        if len(picture) % 2:
            raise ActionRecError(f"{path} has a picture that is no field; delete it, then {_MEND}")
        yield picture.reshape(2, -1, picture.shape[1])


def _is_of(header: FlowHeader, clip: Clip) -> bool:
    return {key: getattr(header, key) for key in ("source_bytes", "source_sha256")} == identify(clip)
