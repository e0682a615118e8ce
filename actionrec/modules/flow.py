"""The flow network: stage 3."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from actionrec.modules.base import ActionModule, flow_stream, without_weights


class FlowModule(ActionModule):
    """Classifies stacks of optical flow: `flow` (B, C, S, S) uint8 → logits (B, K), C as `inputs` says.

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
        network = flow_stream(backbone, len(actions), dropout, inputs)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing)
        self.save_hyperparameters()
        self.hparams["backbone"] = without_weights(backbone)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.network(batch["flow"])
