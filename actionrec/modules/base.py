"""Base of the LightningModules: steps, metrics, optimiser, and the lineage that goes into checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from lightning.pytorch.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from actionrec.modules.earlier import renew
from actionrec.modules.held import first_layers, held_norms
from actionrec.modules.measured import Measured
from actionrec.modules.metrics import MeanClassAccuracy, RankingMetrics
from actionrec.modules.mixup import mix
from actionrec.modules.optimizers import create_optimizer, create_schedule, parameter_groups
from actionrec.networks.stream import Stream, channels_last
from actionrec.networks.streams import MultiStream
from actionrec.system.errors import ActionRecError


class ActionModule(Measured):
    """A classifier of actions; a subclass builds the network and takes the network's inputs out of the batch.

    Hyper-parameters are plain types, so that a checkpoint loads with `weights_only=True` and is enough to rebuild the
    module. The hyper-parameters name no pretrained weights, because the checkpoint holds the weights.

    Args:
        network: classifier of the streams in `inputs`.
        actions: class list, in the order of the labels.
        inputs: the data module's `inputs`.
        optimizer: `_target_` and arguments of a torch optimiser, see `optimizers.create_optimizer`.
        scheduler: `_target_` and arguments of a schedule of `schedules` or of torch, see `optimizers.create_schedule`;
            empty for a constant learning rate.
        label_smoothing: of the training objective (Szegedy et al., CVPR 2016); `train/loss` is measured without it.
        decay_norms, head_lr_factor, backbone_lr_factor: see `optimizers.parameter_groups`.
        batch_norm: see `held.held_norms`.
        fixed_layers: share of the layers of each backbone, see `held.first_layers`, that stay as they are.
        head_epochs: number of first epochs in which the backbones stay as they are, in evaluation mode, and only heads
            and fusion layers learn (linear probing before fine-tuning: Kumar et al., ICLR 2022).
        mixup: parameter alpha of `mixup.mix`; 0 trains on the samples themselves.
        class_weights: weight of each action in the training objective, which is the weighted mean over a batch; None
            for equal weights. `train/loss` is measured without them.

    Raises:
        ActionRecError: the number of class weights is not that of the actions.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: Stream | MultiStream,
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None,
        label_smoothing: float,
        decay_norms: bool = True,
        head_lr_factor: float = 1.0,
        backbone_lr_factor: float = 1.0,
        batch_norm: str = "train",
        fixed_layers: float = 0.0,
        head_epochs: int = 0,
        mixup: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__()
        channels_last(network)
        self.network = network
        self.actions = tuple(actions)
        self.inputs = dict(inputs)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.label_smoothing = label_smoothing
        self.lineage: dict[str, Any] = {}
        self.factors = {"head_lr_factor": head_lr_factor, "backbone_lr_factor": backbone_lr_factor}
        self.decay_norms = decay_norms
        self.batch_norm, self.fixed_layers = batch_norm, fixed_layers
        self.head_epochs = head_epochs
        self.mixup = mixup
        if class_weights is not None and len(class_weights) != len(self.actions):
            raise ActionRecError(
                f"model.class_weights has {len(class_weights)} weights for {len(self.actions)} actions; use balanced"
            )
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        # A buffer moves to the device with the module. The hyper-parameters keep the weights, the state dict does not.
        self.register_buffer("class_weights", weights, persistent=False)
        self._waiting: list[nn.Parameter] = []  # of the backbones, while only the heads learn
        for layer in self._held():
            layer.requires_grad_(False)

        classes = len(self.actions)
        self.train_metrics = MetricCollection({"acc": _accuracy(classes)}, prefix="train/")
        self.val_metrics = MetricCollection(
            {
                "acc": _accuracy(classes),
                "acc_top5": _accuracy(classes, top_k=min(5, classes)),
                "acc_macro": MeanClassAccuracy(classes),
            },
            prefix="val/",
            # Compute groups would merge metrics whose states agree on the first batch, such as top-1 and top-5.
            compute_groups=False,
        )
        # Checking for NaN would force a device sync in every step, and would drop NaN losses from the mean.
        self.train_loss, self.val_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))
        self.val_ranking = RankingMetrics()
        self._lr_found = False
        self._hold()  # Lightning does not call train() before the first epoch

    def train(self, mode: bool = True) -> "ActionModule":
        super().train(mode)
        self._hold()
        return self

    def on_train_start(self) -> None:
        if self._is_finetuned():  # a resumed BackboneFinetuning adds its parameter group, and leaves it frozen
            for group in chain.from_iterable(optimizer.param_groups for optimizer in self.trainer.optimizers):
                for parameter in group["params"]:
                    parameter.requires_grad_(True)
        self._hold()  # trainer.sync_batchnorm has replaced the batch norms

    def _held(self) -> list[nn.Module]:
        """The batch norms and the first layers that stay as they are."""
        norms = held_norms(self.network, self.batch_norm)
        if not self.fixed_layers:
            return norms
        streams = self.streams.values()
        return norms + [layer for stream in streams for layer in first_layers(stream.backbone, self.fixed_layers)]

    def _hold(self) -> None:
        for layer in self._held():
            layer.eval()
        if self._waiting:
            self.backbone.eval()

    def on_train_epoch_start(self) -> None:
        if self.current_epoch < self.head_epochs and not self._waiting:
            if self.trainer.world_size > 1:
                raise ActionRecError("model.head_epochs works on one device; set trainer.devices=1")
            self._waiting = [each for each in self.backbone.parameters() if each.requires_grad]
            self.backbone.requires_grad_(False)
            self._hold()
        elif self.current_epoch >= self.head_epochs and self._waiting:
            for parameter in self._waiting:
                parameter.requires_grad_(True)
            self._waiting = []
            self.train()

    @property
    def backbone(self) -> nn.Module:
        """The backbones of all streams, under the name that `BackboneFinetuning` of Lightning freezes."""
        return nn.ModuleList(stream.backbone for stream in self.streams.values())

    @property
    def lr(self) -> float | None:
        """The optimiser's learning rate, under the name that `LearningRateFinder` of Lightning sets."""
        return self.optimizer.get("lr")

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizer = {**self.optimizer, "lr": value}
        self._lr_found = True

    def on_fit_start(self) -> None:
        """Undo the traces of Lightning's tuners, which train in `on_fit_start` of callbacks, before this hook."""
        if self._lr_found:
            # LearningRateFinder gives one learning rate to all parameter groups, and none to the schedule.
            self.trainer.strategy.setup_optimizers(self.trainer)
            self._lr_found = False
        for metric in (self.train_loss, self.train_metrics):
            metric.reset()

    @property
    def streams(self) -> dict[str, Stream]:
        """The network's streams, by name."""
        if isinstance(self.network, MultiStream):
            return self.network.streams
        return dict.fromkeys(self.inputs["streams"], self.network)

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        labels = batch["label"]
        if self.mixup:
            mixed = mix(batch, self.streams, self.mixup)
            logits, loss = self.learn(
                mixed.batch, lambda each: mixed.loss(each, self.label_smoothing, self.class_weights)
            )
        else:
            logits, loss = self.learn(
                batch,
                lambda each: F.cross_entropy(each, labels, self.class_weights, label_smoothing=self.label_smoothing),
            )
        # The logged loss has neither smoothing nor class weights, as in validation, since the two curves share an axis.
        self.train_loss.update(F.cross_entropy(logits.detach(), labels, reduction="none"))
        self.train_metrics.update(logits.detach(), labels)
        if self.trainer.is_last_batch:  # metric objects accumulate on their own; self.log in every step costs 1 ms
            self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
            self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        return loss

    def learn(self, batch: dict[str, Any], objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, K) of a training batch, and the loss by an objective of logits."""
        logits = self(batch)
        return logits, objective(logits)

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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See `optimizers.parameter_groups`."""
        return parameter_groups(self.named_parameters(), **self.factors, decay_norms=self.decay_norms)

    def configure_optimizers(self) -> Any:
        clips = self._trainer is not None and bool(self.trainer.gradient_clip_val)
        optimizer = create_optimizer(self.optimizer, self.parameter_groups(), clips)
        if not self.scheduler:
            return optimizer
        if self._is_finetuned():
            raise ActionRecError(
                "callbacks: BackboneFinetuning adds a parameter group that the schedule does not know; use "
                "scheduler=none"
            )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        per_epoch = max(1, total // max(1, self.trainer.max_epochs or 1))
        return {
            "optimizer": optimizer,
            "lr_scheduler": create_schedule(self.scheduler, optimizer, total, per_epoch),
        }

    def _is_finetuned(self) -> bool:
        callbacks = [] if self._trainer is None else self.trainer.callbacks  # type: ignore[attr-defined]
        return any(isinstance(each, BaseFinetuning) for each in callbacks)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lineage"] = self.lineage

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        renew(checkpoint)
        self.lineage = checkpoint.get("lineage", {})


def normalisation(module: ActionModule) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of each stream's input, in units of uint8, for the lineage.

    Both are lists of one number for all channels, or of one number per channel.
    """
    return {
        name: {key: [round(value, 4) for value in getattr(stream, key).flatten().tolist()] for key in ("mean", "std")}
        for name, stream in module.streams.items()
    }


def _accuracy(classes: int, top_k: int = 1) -> MulticlassAccuracy:
    # validate_args=True inspects tensor values, which forces a device sync in every step.
    return MulticlassAccuracy(classes, top_k=top_k, average="micro", validate_args=False)
