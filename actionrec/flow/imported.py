"""Import of flow that other tools have computed, as pictures of displacements in one of two common layouts."""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from actionrec.datasets.records import Clip
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import decode
from actionrec.storage.video import count_frames
from actionrec.system.errors import ActionRecError

_NUMBERED = re.compile(r"(?P<series>.*?)_?(?P<number>\d+)\.(jpg|jpeg|png)", re.IGNORECASE)


def pictures_of(clip: Clip, root: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of x and the pictures of y of a clip's fields, in order, numbered from 0 or from 1.

    The layouts under `root` are `[<action>/]<clip>/flow_x_00001.jpg` and `flow_y_00001.jpg` (dense_flow, denseflow,
    mmaction2), or `u/[<action>/]<clip>/frame000001.jpg` and `v/…` (Feichtenhofer's archives).

    Raises:
        ActionRecError: the clip has no folder in either layout, or its folder lacks pictures.
    """
    # A folder that is named by the stem alone could be of another clip with that stem, of which the alias tells.
    for name in (Path(clip.alias),) if clip.alias else (Path(clip.path.stem), Path(clip.action) / clip.path.stem):
        if (root / "u" / name).is_dir():
            x, y = _series(root / "u" / name, "frame"), _series(root / "v" / name, "frame")
            break
        if (root / name).is_dir():
            x, y = _series(root / name, "flow_x"), _series(root / name, "flow_y")
            break
    else:
        raise ActionRecError(f"no flow of {clip.path.name} under {root}; add it, or take the clip out of the lists")
    if len(x) != len(y):
        raise ActionRecError(f"{x[0].parent} has {len(x)} pictures of x and {len(y)} of y; complete them")
    return x, y


def picture_fields(clip: Clip, settings: FlowSettings, root: Path) -> Iterator[np.ndarray]:
    """Codes (2, H, W) uint8 of a clip's fields, from pictures whose grays 0 to 255 stand for -bound to bound.

    Raises:
        ActionRecError: pictures are missing or unreadable, or their number does not fit the clip.
    """
    x_files, y_files = pictures_of(clip, root)
    fields = count_frames(clip.path) - 1
    # A difference of one is accepted: decoders disagree on a clip's last frame, and some tools repeat the last field.
    if abs(len(x_files) - fields) > 1:
        raise ActionRecError(
            f"{x_files[0].parent} has {len(x_files)} fields, but {clip.path} has {fields + 1} frames; import the flow "
            "of this clip"
        )
    for x_file, y_file in zip(x_files[:fields], y_files[:fields], strict=True):
        x, y = _read(x_file), _read(y_file)
        if x.shape != y.shape:
            raise ActionRecError(f"{x_file} and {y_file.name} are of different sizes; replace them")
        yield np.stack([x, y])


def _series(folder: Path, name: str) -> list[Path]:
    numbered = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        match = _NUMBERED.fullmatch(file.name)
        if match and match["series"] == name:
            numbered[int(match["number"])] = file
    first = min(numbered, default=0)
    wanted = range(first, first + len(numbered))
    absent = [number for number in wanted if number not in numbered]
    if not numbered or first > 1 or absent:
        lacking = f"number {absent[0]}" if absent else "the first" if numbered else "all"
        raise ActionRecError(f"{folder} lacks {lacking} of its pictures {name}…; complete the folder")
    return [numbered[number] for number in wanted]


def _read(file: Path) -> np.ndarray:
    try:
        return decode(file.read_bytes(), cv2.IMREAD_GRAYSCALE)
    except ValueError:
        raise ActionRecError(f"cannot read the picture {file}; replace it") from None
