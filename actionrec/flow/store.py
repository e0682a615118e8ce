"""Extracted flow on disk: one zip file per clip, `<store>/<action>/<clip>.zip`.

It holds `header.json` and one gray JPEG a field, `00000.jpg` …, (2H, W) with x above y, so that any window of fields is
read without the rest. `python -m benchmarks.flow formats` has the figures that chose this format.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.errors import ActionRecError
from actionrec.files import atomic_path, sha256

FORMAT = 2
JPEG_QUALITY = 95
_REDO = "delete it and run actionrec.extract_flow"


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
        if not isinstance(self.bound, (int, float)) or self.bound <= 0:
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


def flow_path(store: Path, clip: Clip) -> Path:
    """The file that holds a clip's flow."""
    return store / clip.action / f"{clip.path.stem}.zip"


class OtherSettingsError(ActionRecError):
    """A stored clip was made with other settings than those asked for."""


def identify(clip: Clip) -> dict[str, Any]:
    """Size and hash of the clip, by which a later run knows whether its flow is still that of this file."""
    try:
        return {"source_bytes": clip.path.stat().st_size, "source_sha256": sha256(clip.path)}
    except OSError as error:
        raise ActionRecError(f"cannot read {clip.path}: {error.strerror}") from None


def write(path: Path, clip: Clip, fields: Iterable[np.ndarray], settings: FlowSettings) -> FlowHeader:
    """Write the codes of a clip's fields, each (2, H, W) uint8, as they come; an error among them leaves no file."""
    count, shape = 0, (0, 0)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for codes in fields:
            shape = codes.shape[1:]
            _add(archive, _field_name(count), encode(codes))
            count += 1
        if not count:
            raise ActionRecError(f"{clip.path} has one frame only, flow needs two; take it out of the lists")
        header = FlowHeader(settings, count, *shape, **identify(clip))
        _add(archive, "header.json", json.dumps({"format": FORMAT, **asdict(header)}, sort_keys=True).encode())
    return header


def read_header(path: Path) -> FlowHeader:
    """The header of a stored clip.

    Raises:
        ActionRecError: the file is missing or damaged.
    """
    with _open(path) as archive:
        return _header(archive, path)


def read_fields(path: Path, indices: Iterable[int]) -> np.ndarray:
    """Codes (T, 2, H, W) uint8 of the fields at `indices`.

    Raises:
        ActionRecError: the file is missing or damaged, or has no such field.
    """
    with _open(path) as archive:
        return np.stack([_read_field(archive, index, path) for index in indices])


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
    for index in range(header.fields):
        [codes] = read_fields(path, [index])
        if codes.shape != (2, header.height, header.width):
            raise ActionRecError(f"{path}: field {index} has another size than its header says; {_REDO}")
    if not _is_of(header, clip):
        raise ActionRecError(f"{path} was extracted from another {clip.path.name}; run actionrec.extract_flow again")
    return header.fields


def _is_of(header: FlowHeader, clip: Clip) -> bool:
    return {key: getattr(header, key) for key in ("source_bytes", "source_sha256")} == identify(clip)


def encode(codes: np.ndarray) -> bytes:
    """A field's codes (2, H, W) uint8 as it is stored."""
    return cv2.imencode(".jpg", codes.reshape(-1, codes.shape[-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
        1
    ].tobytes()


def decode(data: bytes) -> np.ndarray:
    """Codes (2, H, W) uint8 of a stored field.

    Raises:
        ValueError: the data are no such image.
    """
    planes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if planes is None:
        raise ValueError("not an image")
    return planes.reshape(2, -1, planes.shape[1])


def _field_name(index: int) -> str:
    return f"{index:05d}.jpg"


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed time: the same clip and settings give the same bytes, whenever they are extracted.
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


def _read_field(archive: zipfile.ZipFile, index: int, path: Path) -> np.ndarray:
    try:
        return decode(archive.read(_field_name(index)))
    except (KeyError, zipfile.BadZipFile, cv2.error, ValueError):
        raise ActionRecError(f"{path} has no readable field {index}; {_REDO}") from None


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ActionRecError(f"no flow at {path}; extract it first: python -m actionrec.extract_flow") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ActionRecError(f"{path} is damaged ({error}); {_REDO}") from None


def _header(archive: zipfile.ZipFile, path: Path) -> FlowHeader:
    try:
        values = json.loads(archive.read("header.json"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        return FlowHeader(FlowSettings(**values.pop("settings")), **values)
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ActionRecError(f"{path} has no readable header ({error}); {_REDO}") from None
