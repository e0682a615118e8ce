"""Modules with fixed streams, and `create`, which picks the class for a set of streams."""

from collections.abc import Mapping
from typing import Any

from actionrec.modules.base import ActionModule
from actionrec.modules.streams import MultiStreamModule, StreamModule


class FrameModule(StreamModule):
    """Classifies RGB frames: `frame` (B, 3, S, S) uint8 → logits (B, K)."""

    takes = frozenset({"frame"})


class FlowModule(StreamModule):
    """Classifies stacks of optical flow: `flow` (B, C, S, S) uint8 → logits (B, K); `inputs` decides C."""

    takes = frozenset({"flow"})


class TwoStreamModule(MultiStreamModule):
    """Classifies pairs: `frame` (B, 3, S, S) and `flow` (B, C, S, S), both uint8 → logits (B, K)."""

    takes = frozenset({"frame", "flow"})


_BY_STREAMS = {kind.takes: kind for kind in (FrameModule, FlowModule, TwoStreamModule)}


def create(inputs: Mapping[str, Any], **options: Any) -> ActionModule:
    """Create the module for the streams of a data module's `inputs`; see `StreamModule` and `MultiStreamModule`."""
    names = frozenset(inputs["streams"])
    kind = _BY_STREAMS.get(names) or (StreamModule if len(names) == 1 else MultiStreamModule)
    return kind(inputs=inputs, **options)
