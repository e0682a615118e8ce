"""The flow network: stage 3."""

from actionrec.modules.base import StreamModule


class FlowModule(StreamModule):
    """Classifies stacks of optical flow: `flow` (B, C, S, S) uint8 → logits (B, K), C as `inputs` says."""

    modality = "flow"
