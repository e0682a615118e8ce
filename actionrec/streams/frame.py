"""One RGB frame of a clip, or a still."""
# Skeleton: the data side (check, prepare, frames_of, source, see, picture) is to be written.

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actionrec.streams.base import Constants, Modality


class Frame(Modality):
    """One RGB frame: (3, S, S) uint8.

    Args:
        folder: of the frames that are taken out of clips, see `storage.frames`; None where nothing is read.
    """

    label, colour, hatch = "frame", "#0072B2", ""

    def __init__(self, folder: str | None = None):
        self.folder = Path(folder) if folder else None

    def settings(self) -> dict[str, Any]:
        return {"_target_": "actionrec.streams.Frame"}

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        return mean, std
