"""What the LightningModules share: steps, metrics, optimiser, and the lineage that goes into checkpoints."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from actionrec.modules.earlier import add_normalisation
from actionrec.modules.metrics import MeanClassAccuracy, RankingMetrics
from actionrec.modules.norms import held_norms
from actionrec.modules.optimizers import create_optimizer, create_schedule, parameter_groups
from actionrec.networks import backbone as backbones
from actionrec.networks.backbone import Backbone
from actionrec.networks.fusion import Stream, TwoStream

FLOW_MEAN, FLOW_STD = {"xy": (128.0,), "magnitude": (0.0,)}, (57.63,)  # the codes of no motion; see create_stream


class ActionModule(LightningModule):
    """A classifier of actions; a subclass builds the network and takes its inputs out of the batch.

    Hyper-parameters are plain types, so that a checkpoint loads with `weights_only=True` and rebuilds the module by
    itself. Names of pretrained weights are not among them: the checkpoint has the weights.

    Args:
        actions: class list, in the order of the labels.
        inputs: what the data module's `inputs` says.
        optimizer: `_target_` and arguments of a torch optimiser, see `optimizers.create_optimizer`.
        scheduler: of one of `schedules` or of torch, see `optimizers.create_schedule`; empty for a constant rate.
        label_smoothing: of the training objective (Szegedy et al., CVPR 2016); `train/loss` is without.
        decay_norms, head_lr_factor, backbone_lr_factor: see `optimizers.parameter_groups`.
        batch_norm: see `norms.held_norms`.
    """

    def __init__(
        self,
        network: nn.Module,
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None,
        label_smoothing: float,
        decay_norms: bool = True,
        head_lr_factor: float = 1.0,
        backbone_lr_factor: float = 1.0,
        batch_norm: str = "train",
    ):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.actions = tuple(actions)
        self.inputs = dict(inputs)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.label_smoothing = label_smoothing
        self.lineage: dict[str, Any] = {}
        self.factors = {"head_lr_factor": head_lr_factor, "backbone_lr_factor": backbone_lr_factor}
        self.decay_norms = decay_norms
        self.batch_norm = batch_norm
        for norm in held_norms(self.network, batch_norm):
            norm.requires_grad_(False)

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
        self.val_ranking = RankingMetrics()
        self._views: list[tuple[list[str], Tensor, Tensor]] = []
        self._hold_norms()  # Lightning does not call train() before the first epoch

    def train(self, mode: bool = True) -> "ActionModule":
        super().train(mode)
        self._hold_norms()
        return self

    def on_train_start(self) -> None:
        self._hold_norms()  # trainer.sync_batchnorm has replaced them

    def _hold_norms(self) -> None:
        for norm in held_norms(self.network, self.batch_norm):
            norm.eval()

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        logits, labels = self(batch), batch["label"]
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        # Without smoothing, as in validation: the two curves share an axis.
        self.train_loss.update(F.cross_entropy(logits.detach(), labels, reduction="none"))
        self.train_metrics.update(logits.detach(), labels)
        if self.trainer.is_last_batch:  # the metrics collect by themselves, and to log them costs a millisecond
            self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
            self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: dict[str, Any], index: int) -> Tensor:
        logits, labels = self(batch), batch["label"]
        self.val_loss.update(F.cross_entropy(logits, labels, reduction="none"))
        self.val_metrics.update(logits, labels)
        self.val_ranking.update(logits, labels)
        return logits  # for callbacks

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss)
        self.log_dict(self.val_metrics)
        self.log_dict({f"val/{name}": value for name, value in self.val_ranking.compute().items()})
        self.val_ranking.reset()

    def on_test_epoch_start(self) -> None:
        self._views = []

    def test_step(self, batch: dict[str, Any], index: int) -> None:
        self._views.append((batch["name"], self(batch).float().cpu(), batch["label"].cpu()))

    def tested(self) -> tuple[list[str], Tensor, Tensor]:
        """Names, logits (V, K) float32 and labels (V,) of every view that the last test has seen, on the CPU."""
        names, logits, labels = zip(*self._views, strict=True)
        return list(chain(*names)), torch.cat(logits), torch.cat(labels)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See `optimizers.parameter_groups`."""
        return parameter_groups(self.named_parameters(), **self.factors, decay_norms=self.decay_norms)

    def configure_optimizers(self) -> Any:
        clips = self._trainer is not None and bool(self.trainer.gradient_clip_val)
        optimizer = create_optimizer(self.optimizer, self.parameter_groups(), clips)
        if not self.scheduler:
            return optimizer
        total = max(1, int(self.trainer.estimated_stepping_batches))
        per_epoch = max(1, total // max(1, self.trainer.max_epochs or 1))
        return {
            "optimizer": optimizer,
            "lr_scheduler": create_schedule(self.scheduler, optimizer, total, per_epoch),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lineage"] = self.lineage

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        add_normalisation(checkpoint)
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
        **options: Any,
    ):
        network = create_stream(self.modality, backbone, len(actions), dropout, inputs)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing, **options)
        self.save_hyperparameters()
        self.hparams["backbone"] = without_weights(backbone, network.backbone)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.network(batch[self.modality])


def create_stream(
    modality: str, backbone: Mapping[str, Any], classes: int, dropout: float, inputs: Mapping[str, Any]
) -> Stream:
    """The stream of RGB frames (`frame`), or of flow stacks as `inputs` describes them (`flow`).

    Flow is centred on the code of no motion and divided by 57.63 (TSN: Wang et al., ECCV 2016), whatever constants the
    backbone's pictures have: most motion is a few codes long, so that a larger divisor would push the stem's response
    below the epsilon of the batch norm behind it. Of EfficientNet-Lite0 (0.5/0.5, epsilon 0.001) the response to real
    flow has a variance of 0.0028 with 57.63, of which the norm leaves 86 % of the amplitude, and of 0.0006 with its
    pictures' 127.5, which leaves 60 % (medians over channels, 40 clips of J-HMDB).

    Raises:
        ActionRecError: there is no such backbone, or it does not take pictures of `inputs["size"]`.
    """
    channels = 3
    if modality == "flow":
        channels = inputs["fields"] * (2 if inputs["representation"] == "xy" else 1)
    network = backbones.create(**backbone, in_channels=channels)
    if "size" in inputs:
        backbones.check_size(network, backbone["name"], inputs["size"], channels)
    if modality == "frame":
        return Stream(network, classes, network.mean, network.std, dropout)
    return Stream(network, classes, FLOW_MEAN[inputs["representation"]], FLOW_STD, dropout)


def without_weights(settings: Mapping[str, Any], backbone: Backbone) -> dict[str, Any]:
    """Settings that build a backbone again without its pretrained weights, which a checkpoint replaces."""
    found = {**settings, "weights": None}
    if backbone.image_size and not settings["name"].startswith("timm:"):  # timm's names say it
        found["image_size"] = backbone.image_size
    return found


def normalisation(network: nn.Module) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of each stream's input, in units of uint8, for the lineage.

    By role, `frame` and `flow`, or `input` for a single stream; one number for all channels, or one for each.
    """
    streams = {"frame": network.frame, "flow": network.flow} if isinstance(network, TwoStream) else {"input": network}
    return {
        role: {key: [round(value, 4) for value in getattr(stream, key).flatten().tolist()] for key in ("mean", "std")}
        for role, stream in streams.items()
    }


def _accuracy(classes: int, top_k: int = 1) -> MulticlassAccuracy:
    # Validation of the arguments looks at their values, for which a GPU would have to be waited for.
    return MulticlassAccuracy(classes, top_k=top_k, average="micro", validate_args=False)
