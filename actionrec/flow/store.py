"""Extracted flow on disk: one zip file per clip, `<store>/<action>/<clip>.zip`.

It holds `header.json` and one lossless PNG a field, `00000.png` …, (2H, W) with x above y, so that any window of fields
is read without the rest.
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

FORMAT = 1
# Run lengths suit smooth codes: 10 kB a field at 320x240 where the default needs 17.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]


@dataclass(frozen=True)
class FlowSettings:
    """What decides the values of a field; networks only fit flow made with the settings they were trained on."""

    algorithm: str
    params: Mapping[str, Any] = field(default_factory=dict)
    bound: float = 20.0

    def __str__(self) -> str:
        params = " ".join(f"{key}={value}" for key, value in self.params.items())
        return f"{self.algorithm}({params}) bound={self.bound:g}"


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


def source_of_truth(clip: Clip) -> dict[str, Any]:
    """Size and hash of the clip, by which a later run knows whether its flow is still that of this file."""
    return {"source_bytes": clip.path.stat().st_size, "source_sha256": sha256(clip.path)}


def write(path: Path, clip: Clip, fields: Iterable[np.ndarray], settings: FlowSettings) -> FlowHeader:
    """Write the codes of a clip's fields, each (H, W, 2) uint8, as they come; an error among them leaves no file."""
    count, shape = 0, (0, 0)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for codes in fields:
            shape = codes.shape[:2]
            archive.writestr(f"{count:05d}.png", _encode(codes))
            count += 1
        if not count:
            raise ActionRecError(f"{clip.path} has one frame only, flow needs two; take it out of the lists")
        header = FlowHeader(settings, count, *shape, **source_of_truth(clip))
        archive.writestr("header.json", json.dumps({"format": FORMAT, **asdict(header)}))
    return header


def read_header(path: Path) -> FlowHeader:
    """The header of a stored clip.

    Raises:
        ActionRecError: the file is missing or damaged.
    """
    with _open(path) as archive:
        return _header(archive, path)


def read_fields(path: Path, indices: Iterable[int]) -> np.ndarray:
    """Codes (T, H, W, 2) uint8 of the fields at `indices`.

    Raises:
        ActionRecError: the file is missing or damaged, or has no such field.
    """
    with _open(path) as archive:
        return np.stack([_decode(archive, index, path) for index in indices])


def check_settings(path: Path, wanted: FlowSettings) -> FlowHeader:
    """The header of a stored clip, if it was made with these settings.

    Raises:
        ActionRecError: it was made with others, or the file is missing or damaged.
    """
    header = read_header(path)
    if header.settings != wanted:
        raise ActionRecError(
            f"{path} holds flow of {header.settings}, the experiment asks for {wanted}; "
            "set flow= to match, or extract into another paths.flow"
        )
    return header


def is_complete(path: Path, clip: Clip, settings: FlowSettings) -> bool:
    """Whether the clip's flow is there, loads, and was made with these settings from this very file."""
    try:
        header = read_header(path)
        read_fields(path, [header.fields - 1])
    except ActionRecError:
        return False
    return header == FlowHeader(settings, header.fields, header.height, header.width, **source_of_truth(clip))


def _encode(codes: np.ndarray) -> bytes:
    planes = np.concatenate([codes[..., 0], codes[..., 1]])
    return cv2.imencode(".png", planes, _PNG)[1].tobytes()


def _decode(archive: zipfile.ZipFile, index: int, path: Path) -> np.ndarray:
    try:
        planes = cv2.imdecode(np.frombuffer(archive.read(f"{index:05d}.png"), np.uint8), cv2.IMREAD_GRAYSCALE)
        return np.stack(np.split(planes, 2), axis=-1)
    except (KeyError, zipfile.BadZipFile, cv2.error, ValueError):
        raise ActionRecError(
            f"{path} has no readable field {index}; delete it and run actionrec.extract_flow"
        ) from None


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ActionRecError(f"no flow at {path}; extract it first: python -m actionrec.extract_flow") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ActionRecError(f"{path} is damaged ({error}); delete it and run actionrec.extract_flow") from None


def _header(archive: zipfile.ZipFile, path: Path) -> FlowHeader:
    try:
        values = json.loads(archive.read("header.json"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        return FlowHeader(FlowSettings(**values.pop("settings")), **values)
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ActionRecError(
            f"{path} has no readable header ({error}); delete it and run actionrec.extract_flow"
        ) from None
