"""A stack of optical flow around an instant (Simonyan & Zisserman, NeurIPS 2014)."""
# Skeleton: the data side (check, prepare, frames_of, source, see, picture) is to be written.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actionrec.storage.flow import FlowSettings
from actionrec.streams.base import Constants, Modality
from actionrec.system.errors import ActionRecError

CHANNELS = 8  # of a stack, unless its number of fields is given
CHANNELS_OF_A_FIELD = {"xy": 2, "magnitude": 1}
REST = {"xy": (128.0,), "magnitude": (0.0,)}  # the codes of no motion
STD = (57.63,)


class Flow(Modality):
    """A stack of flow fields: (C, S, S) uint8, see `flow.field.stack`.

    Args:
        algorithm, params, bound, short_side: that the flow was extracted with, see `storage.flow.FlowSettings`.
        fields: of a stack; None takes as many as make eight channels, four of `xy` or eight of `magnitude`.
        stride: from one field of a stack to the next.
        representation: `xy` (C = 2 · fields) or `magnitude` (C = fields).
        folder: the store; None where nothing is read.
    """

    label, colour, hatch = "flow", "#D55E00", "////"

    def __init__(
        self,
        algorithm: str,
        params: Mapping[str, Any] | None = None,
        bound: float = 20.0,
        short_side: int | None = None,
        fields: int | None = None,
        stride: int = 1,
        representation: str = "xy",
        folder: str | None = None,
    ):
        if representation not in CHANNELS_OF_A_FIELD:
            raise ActionRecError(f"data.flow.representation={representation}: use xy or magnitude")
        if fields is None:
            fields = CHANNELS // CHANNELS_OF_A_FIELD[representation]
        if fields < 1 or stride < 1:
            raise ActionRecError(f"data.flow.fields={fields} data.flow.stride={stride}: both must be at least 1")
        self.stored = FlowSettings(algorithm, dict(params or {}), bound, short_side)
        self.fields, self.stride, self.representation = fields, stride, representation
        self.folder = Path(folder) if folder else None

    def settings(self) -> dict[str, Any]:
        stored = self.stored
        return {
            "_target_": "actionrec.streams.Flow",
            "algorithm": stored.algorithm,
            "params": dict(stored.params),
            "bound": stored.bound,
            "short_side": stored.short_side,
            "fields": self.fields,
            "stride": self.stride,
            "representation": self.representation,
        }

    def shape(self, size: int) -> tuple[int, ...]:
        return (self.fields * CHANNELS_OF_A_FIELD[self.representation], size, size)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        """Flow is centred on the code of no motion and divided by 57.63 (TSN: Wang et al., ECCV 2016).

        The constants are those, whatever constants the backbone's pictures have: most motion is a few codes long, so
        that a larger divisor would push the stem's response below the epsilon of the batch norm behind it. Of
        EfficientNet-Lite0 (0.5/0.5, epsilon 0.001) the response to real flow has a variance of 0.0028 with 57.63, of
        which the norm leaves 86 % of the amplitude, and of 0.0006 with its pictures' 127.5, which leaves 60 % (medians
        over channels, 40 clips of J-HMDB).
        """
        return REST[self.representation], STD
