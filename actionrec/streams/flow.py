"""A stack of optical flow around an instant (Simonyan & Zisserman, NeurIPS 2014)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actionrec.datasets.records import Clip
from actionrec.flow.visualize import stack_colours
from actionrec.storage import flow as store
from actionrec.storage.cache import Pictures, Source
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.streams.base import Constants, Modality, place
from actionrec.streams.sampling import stack_indices
from actionrec.streams.transforms import Augmentation, View, view_flow
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
        self._lengths: dict[Path, int] = {}  # fields by file; to read a header takes longer than to decode a field

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

    def check(self, clips: Sequence[Clip]) -> None:
        """Raise unless every clip's flow is extracted from this clip, with these settings, and long enough."""
        folder = place(self.folder, self)
        missing = [clip for clip in clips if not clip_path(folder, clip).is_file()]
        if missing:
            raise ActionRecError(
                f"flow of {len(missing)} of {len(clips)} clips is not extracted in {folder} "
                f"(first: {missing[0].path.name}); run actionrec extract_flow with the same paths, flow, dataset and "
                "data.actions"
            )
        for clip in clips:
            path = clip_path(folder, clip)
            header = store.check_settings(path, self.stored)
            if header.source_bytes != clip.path.stat().st_size:
                raise ActionRecError(
                    f"{path} was extracted from another {clip.path.name}; run actionrec extract_flow again"
                )
            try:
                stack_indices(0, header.fields, self.fields, self.stride)
            except ValueError as error:
                raise ActionRecError(
                    f"{clip.path} is too short: {error}; lower data.flow.fields or data.flow.stride, or leave the "
                    "clip out"
                ) from None

    def prepare(self, clips: Sequence[Clip], fractions: Sequence[float], workers: int) -> None:
        pass  # flow takes hours; `extract_flow` makes it

    def frames_of(self, clip: Clip) -> int:
        return self._fields_of(clip) + 1

    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        n_fields = self._fields_of(clip)
        stacks = [stack_indices(instant, n_fields, self.fields, self.stride) for instant in instants]
        return Source(clip_path(place(self.folder, self), clip), sorted(set().union(*stacks)), store.read_fields)

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        return torch.from_numpy(view_flow(np.asarray(pictures), view, size, self.representation))

    def picture(self, sample: Tensor) -> np.ndarray:
        """The middle field as colours."""
        return stack_colours(sample.numpy(), self.representation, self.stored.bound)

    def _fields_of(self, clip: Clip) -> int:
        path = clip_path(place(self.folder, self), clip)
        if path not in self._lengths:
            self._lengths[path] = store.read_header(path).fields
        return self._lengths[path]
