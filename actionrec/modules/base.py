"""What the LightningModules share: steps, metrics, optimiser, and the lineage that goes into checkpoints."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from actionrec.modules.metrics import MeanClassAccuracy
from actionrec.networks import backbone as backbones
from actionrec.networks.fusion import Stream

# ImageNet's, and for flow those of TSN (Wang et al., ECCV 2016) around the code of no motion; in units of uint8.
FRAME_MEAN, FRAME_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FLOW_MEAN, FLOW_STD = {"xy": (128.0,), "magnitude": (0.0,)}, (57.63,)


class ActionModule(LightningModule):
    """A classifier of actions; a subclass builds the network and takes its inputs out of the batch.

    Hyper-parameters are plain types, so that a checkpoint loads with `weights_only=True` and rebuilds the module by
    itself. Names of pretrained weights are not among them: the checkpoint has the weights.

    Args:
        actions: class list, in the order of the labels.
        inputs: what the data module's `inputs` says.
        optimizer: `_target_` and arguments of a torch optimiser.
        scheduler: `_target_` and arguments of one of `schedules`; empty for a constant rate.
        label_smoothing: of the training loss (Szegedy et al., CVPR 2016).
    """

    def __init__(
        self,
        network: nn.Module,
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None,
        label_smoothing: float,
    ):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.actions = tuple(actions)
        self.inputs = dict(inputs)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.label_smoothing = label_smoothing
        self.lineage: dict[str, Any] = {}

        classes = len(self.actions)
        self.train_metrics = MetricCollection({"acc": _accuracy(classes)}, prefix="train/")
        self.val_metrics = MetricCollection(
            {
                "acc": _accuracy(classes),
                "acc_top5": _accuracy(classes, top_k=min(5, classes)),
                "acc_macro": MeanClassAccuracy(classes),
            },
            prefix="val/",
            compute_groups=False,  # else metrics that agree on the first batch, such as top-1 and top-5, are made one
        )
        # Looking for NaN would wait for the device, and leave them out of the mean.
        self.train_loss, self.val_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))
        self._views: list[tuple[list[str], Tensor, Tensor]] = []

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        logits, labels = self(batch), batch["label"]
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        self.train_loss.update(losses.detach())
        self.train_metrics.update(logits.detach(), labels)
        if self.trainer.is_last_batch:  # the metrics collect by themselves, and to log them costs a millisecond
            self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
            self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        return losses.mean()

    def validation_step(self, batch: dict[str, Any], index: int) -> Tensor:
        logits, labels = self(batch), batch["label"]
        self.val_loss.update(F.cross_entropy(logits, labels, reduction="none"))
        self.val_metrics.update(logits, labels)
        return logits  # for callbacks

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss)
        self.log_dict(self.val_metrics)

    def on_test_epoch_start(self) -> None:
        self._views = []

    def test_step(self, batch: dict[str, Any], index: int) -> None:
        self._views.append((batch["name"], self(batch).float().cpu(), batch["label"].cpu()))

    def tested(self) -> tuple[list[str], Tensor, Tensor]:
        """Names, logits (V, K) float32 and labels (V,) of every view that the last test has seen, on the CPU."""
        names, logits, labels = zip(*self._views, strict=True)
        return list(chain(*names)), torch.cat(logits), torch.cat(labels)

    def configure_optimizers(self) -> Any:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = instantiate(dict(self.optimizer), parameters)
        if not self.scheduler:
            return optimizer
        total = max(1, int(self.trainer.estimated_stepping_batches))
        per_epoch = max(1, total // max(1, self.trainer.max_epochs or 1))
        scheduler = instantiate(dict(self.scheduler), optimizer, total_steps=total, steps_per_epoch=per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lineage"] = self.lineage

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.lineage = checkpoint.get("lineage", {})


class StreamModule(ActionModule):
    """A module of one stream.

    Args:
        backbone: arguments of `networks.backbone.create`.
        dropout: of the features.
        options: see `ActionModule`.
    """

    modality: str

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
        network = create_stream(self.modality, backbone, len(actions), dropout, inputs)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing)
        self.save_hyperparameters()
        self.hparams["backbone"] = without_weights(backbone)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.network(batch[self.modality])


def create_stream(
    modality: str, backbone: Mapping[str, Any], classes: int, dropout: float, inputs: Mapping[str, Any]
) -> Stream:
    """The stream of RGB frames (`frame`), or of flow stacks as `inputs` describes them (`flow`)."""
    if modality == "frame":
        return Stream(backbones.create(**backbone), classes, FRAME_MEAN, FRAME_STD, dropout)
    representation = inputs["representation"]
    channels = inputs["fields"] * (2 if representation == "xy" else 1)
    network = backbones.create(**backbone, in_channels=channels)
    return Stream(network, classes, FLOW_MEAN[representation], FLOW_STD, dropout)


def without_weights(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's settings but for the pretrained weights, which a checkpoint replaces."""
    return {**backbone, "weights": None}


def _accuracy(classes: int, top_k: int = 1) -> MulticlassAccuracy:
    # Validation of the arguments looks at their values, for which a GPU would have to be waited for.
    return MulticlassAccuracy(classes, top_k=top_k, average="micro", validate_args=False)
