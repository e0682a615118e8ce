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
from actionrec.streams import focus as looking
from actionrec.streams.base import Constants, Modality, place
from actionrec.streams.sampling import stack_indices
from actionrec.streams.transforms import Augmentation, View, view_flow
from actionrec.system.errors import ActionRecError

CHANNELS = 8  # channels of a stack by default
CHANNELS_OF_A_FIELD = {"xy": 2, "magnitude": 1}
REST = {"xy": (128.0,), "magnitude": (0.0,)}  # the codes of zero motion
STD = (57.63,)


class Flow(Modality):
    """A stack of flow fields: (C, S, S) uint8, see `flow.field.stack`.

    Args:
        algorithm, params, bound, short_side: settings of the extracted flow, see `storage.flow.FlowSettings`.
        fields: number of fields in a stack; None gives eight channels: four fields of `xy` or eight of `magnitude`.
        stride: distance between neighbouring fields of a stack.
        representation: `xy` (C = 2 · fields) or `magnitude` (C = fields).
        folder: the store; None if no samples are read.
        size: side of a sample in pixels; None for that of the other streams.
        focus: None, or `motion` for the square of each stack around the motion, see `focus`; views are of it.
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
        size: int | None = None,
        focus: str | None = None,
    ):
        if representation not in CHANNELS_OF_A_FIELD:
            raise ActionRecError(f"data.flow.representation={representation}: use xy or magnitude")
        if fields is None:
            fields = CHANNELS // CHANNELS_OF_A_FIELD[representation]
        if fields < 1 or stride < 1:
            raise ActionRecError(f"data.flow.fields={fields} data.flow.stride={stride}: both must be at least 1")
        self.stored = FlowSettings(algorithm, dict(params or {}), bound, short_side)
        self.fields, self.stride, self.representation = fields, stride, representation
        self.size = size
        self.focus = looking.check(self.key("focus"), focus)
        self.folder = Path(folder) if folder else None
        self._lengths: dict[
            Path, int
        ] = {}  # number of fields by file; reading a header is slower than decoding a field

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
            **looking.named(self.size, self.focus),
        }

    def shape(self, size: int) -> tuple[int, ...]:
        side = self.size or size
        return (self.fields * CHANNELS_OF_A_FIELD[self.representation], side, side)

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Constants:
        """The mean is the code of zero motion, the standard deviation is 57.63 (TSN: Wang et al., ECCV 2016).

        The constants do not depend on the backbone's constants for RGB: most displacements are a few codes long, so a
        larger divisor would push the variance of the stem's response below the epsilon of the following batch norm.
        With EfficientNet-Lite0 (0.5/0.5, epsilon 0.001) and 57.63, the response to real flow has a variance of 0.0028,
        and the batch norm keeps 86 % of the amplitude; with the 127.5 of its RGB input, the variance is 0.0006, and the
        batch norm keeps 60 % (medians over channels, 40 clips of J-HMDB).
        """
        return REST[self.representation], STD

    def check(self, clips: Sequence[Clip]) -> None:
        """Raise unless every clip has flow of these settings that was extracted from this clip and fills a stack."""
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
        pass  # extracting flow takes hours, so it is a command of its own, `actionrec extract_flow`

    def frames_of(self, clip: Clip) -> int:
        return self._fields_of(clip) + 1

    def source(self, clip: Clip, instants: Sequence[int]) -> Source:
        n_fields = self._fields_of(clip)
        stacks = [stack_indices(instant, n_fields, self.fields, self.stride) for instant in instants]
        return Source(clip_path(place(self.folder, self), clip), sorted(set().union(*stacks)), store.read_fields)

    def see(
        self, pictures: Pictures, view: View, size: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> Tensor:
        codes = np.asarray(pictures)
        if self.focus:
            codes = looking.on_flow(codes)
        return torch.from_numpy(view_flow(codes, view, self.size or size, self.representation))

    def picture(self, sample: Tensor) -> np.ndarray:
        """The middle field as colours."""
        return stack_colours(sample.numpy(), self.representation, self.stored.bound)

    def _fields_of(self, clip: Clip) -> int:
        path = clip_path(place(self.folder, self), clip)
        if path not in self._lengths:
            self._lengths[path] = store.read_header(path).fields
        return self._lengths[path]
