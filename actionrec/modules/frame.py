"""The frame network: stages 1 and 2."""

from actionrec.modules.base import StreamModule


class FrameModule(StreamModule):
    """Classifies RGB frames: `frame` (B, 3, S, S) uint8 → logits (B, K)."""

    modality = "frame"
