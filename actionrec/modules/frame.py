"""The frame network: stages 1 and 2."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from actionrec.modules.base import ActionModule, frame_stream, without_weights


class FrameModule(ActionModule):
    """Classifies RGB frames: `frame` (B, 3, S, S) uint8 → logits (B, K).

    Args:
        backbone: arguments of `networks.backbone.create`.
        dropout: of the features.
        options: see `ActionModule`.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
    ):
        network = frame_stream(backbone, len(actions), dropout)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing)
        self.save_hyperparameters()
        self.hparams["backbone"] = without_weights(backbone)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.network(batch["frame"])
