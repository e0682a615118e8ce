"""The two-stream network: stage 4."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from actionrec.modules.base import ActionModule, create_stream, without_weights
from actionrec.networks.fusion import TwoStream


class TwoStreamModule(ActionModule):
    """Classifies pairs: `frame` (B, 3, S, S) and `flow` (B, C, S, S), both uint8 → logits (B, K).

    Args:
        frame_backbone: of the frame stream, arguments of `networks.backbone.create`.
        flow_backbone: of the flow stream.
        fusion: see `networks.fusion.TwoStream`.
        frozen: streams that do not learn, of `frame` and `flow`.
        dropout: of the features of both.
        options: see `ActionModule`.
    """

    network: TwoStream

    def __init__(
        self,
        frame_backbone: Mapping[str, Any],
        flow_backbone: Mapping[str, Any],
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        fusion: str = "concat",
        frozen: Sequence[str] = (),
        **options: Any,
    ):
        classes = len(actions)
        frame = create_stream("frame", frame_backbone, classes, dropout, inputs)
        flow = create_stream("flow", flow_backbone, classes, dropout, inputs)
        network = TwoStream(frame, flow, classes, fusion, frozen)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing, **options)
        self.save_hyperparameters()
        self.hparams["frame_backbone"] = without_weights(frame_backbone, frame.backbone)
        self.hparams["flow_backbone"] = without_weights(flow_backbone, flow.backbone)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.network(batch["frame"], batch["flow"])

    def predict_step(self, batch: dict[str, Any], index: int) -> dict[str, Tensor]:
        """Features (B, F) of the frozen streams, on the CPU."""
        streams = {role: getattr(self.network, role) for role in self.network.frozen}
        return {role: stream.embed(batch[role]).float().cpu() for role, stream in streams.items()}
