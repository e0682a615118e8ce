"""Pictures of the validation in TensorBoard: confusion matrix, wrong predictions, Grad-CAM, filters, projector."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.hooks import RemovableHandle

from actionrec.callbacks import projector
from actionrec.callbacks.best import BestCheckpoint
from actionrec.callbacks.pictures import BLACK, RED, filters, grid, note, sample_pictures, tile
from actionrec.callbacks.tensorboard import logger_of, step_of, writer_of
from actionrec.datamodules.base import collate
from actionrec.datamodules.samples import Sample
from actionrec.evaluation.metrics import confusion, per_action, probabilities_of
from actionrec.evaluation.plots import confusion_matrix, pixels
from actionrec.evaluation.scores import Scores
from actionrec.modules.base import ActionModule
from actionrec.networks.stem import first_convolution
from actionrec.networks.stream import Stream
from actionrec.networks.streams import MultiStream

THUMBNAIL = 32  # side of a sample's picture in the projector, in pixels


class LogValidationImages(Callback):
    """Logs the predictions on the validation samples.

    Every validation logs the confusion matrix and the accuracy by action. If the metric that `BestCheckpoint` monitors
    (`val/acc` without a `BestCheckpoint`) is better than ever before, or equal at a lower `val/loss`, the validation
    also logs pictures: the wrong predictions with the highest confidence, Grad-CAM of samples spread evenly over the
    set (the same samples each time), the filters of the first convolution, and the features for the projector. So does
    the last epoch without a `BestCheckpoint`. The newest pictures thus show the network that is kept. Streams of
    precomputed features have no pictures.

    Args:
        wrong: largest number of wrong predictions to show; 0 for none.
        grad_cam: number of samples to show Grad-CAM for; 0 for none.
        projected: largest number of samples in the projector; 0 for none.
    """

    def __init__(self, wrong: int = 12, grad_cam: int = 8, projected: int = 2000):
        self.wrong = wrong
        self.grad_cam = grad_cam
        self.projected = projected
        self.best, self._tie = -math.inf, math.inf
        self._answers: list[tuple[list[str], Tensor, Tensor]] = []
        self._features: list[Tensor] = []
        self._thumbnails: dict[str, list[Tensor]] = {}
        self._hooks: list[RemovableHandle] = []
        self._inputs: list[Tensor] = []

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint: the former class name, so that earlier runs can be resumed."""
        return "Validation"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "tie": self._tie}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self._tie = state_dict["best"], state_dict.get("tie", math.inf)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()
        if self._writes(trainer) and self.projected:
            for layer in deciding_layers(cast(ActionModule, pl_module).network):
                self._hooks.append(layer.register_forward_pre_hook(lambda _, inputs: self._inputs.append(inputs[0])))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self._writes(trainer):
            return
        # All tensors stay on the device until the end of the epoch, since a copy to the host would force a sync.
        before = sum(len(names) for names, *_ in self._answers)
        self._answers.append((batch["name"], outputs, batch["label"]))
        if self.projected:
            # Of all validation samples, samples 0, N, 2N, … are projected. A slice, unlike a list of rows, needs no
            # copy of indices to the device.
            every = self._every(trainer)
            since_last = before % every
            chosen = slice(every - since_last if since_last else 0, None, every)
            self._features.append(torch.cat(self._inputs, dim=1)[chosen])
            for name in cast(ActionModule, pl_module).streams:
                if batch[name].dim() > 2:  # precomputed features (B, F) have no pictures
                    self._thumbnails.setdefault(name, []).append(thumbnails(batch[name][chosen]))
        self._inputs.clear()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = writer_of(trainer)
        if not writer or not self._answers:
            return
        assert isinstance(pl_module, ActionModule)
        step = step_of(trainer)
        names, logits, labels = zip(*self._answers, strict=True)
        flat = [name for batch in names for name in batch]
        scores = Scores(flat, torch.cat(logits).float().cpu(), torch.cat(labels).cpu(), pl_module.actions, flat)
        for row in per_action(scores):
            if row["n"]:
                writer.add_scalar(f"val_acc/{row['action']}", row["recall"], step)
        figure = confusion_matrix(confusion(scores), scores.actions)
        writer.add_image("val/confusion", pixels(figure), step, dataformats="HWC")

        best = BestCheckpoint.of(trainer)
        monitor, sign = (best.monitor, best.sign) if best else ("val/acc", 1.0)
        reached, loss = sign * float(trainer.callback_metrics[monitor]), float(trainer.callback_metrics["val/loss"])
        improved = (reached, -loss) > (self.best, -self._tie)
        if improved:
            self.best, self._tie = reached, loss
        if improved or (best is None and trainer.current_epoch + 1 == trainer.max_epochs):
            for tag, picture in self._pictures(trainer, pl_module, scores).items():
                writer.add_image(tag, picture, step, dataformats="HWC")
            if self.projected:
                self._project(trainer, pl_module, scores)
        self._forget()

    def _pictures(self, trainer: Trainer, module: ActionModule, scores: Scores) -> dict[str, np.ndarray]:
        """Pictures of the network, by tag."""
        found = {f"weights/{name}_stem": filters(weight) for name, weight in first_weights(module).items()}
        # The forked RNG leaves the training's random numbers as they would be without this callback.
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            if self.wrong:
                wrong = most_wrong(scores, self.wrong)
                found |= wrong_pictures(scores, wrong, self._samples(trainer, scores, wrong), module)
            if self.grad_cam:
                spread = (
                    np.linspace(0, len(scores.names) - 1, min(self.grad_cam, len(scores.names))).astype(int).tolist()
                )
                found |= grad_cam_pictures(scores, spread, self._samples(trainer, scores, spread), module)
        return found

    def _project(self, trainer: Trainer, module: ActionModule, scores: Scores) -> None:
        every = self._every(trainer)
        answers = [scores.actions[answer] for answer in scores.logits[::every].argmax(1)]
        actions = [scores.actions[label] for label in scores.labels[::every]]
        rights = ["right" if action == answer else "wrong" for action, answer in zip(actions, answers, strict=True)]
        rows = list(zip(actions, answers, rights, scores.names[::every], strict=True))
        small = {name: torch.cat(parts).cpu() for name, parts in self._thumbnails.items()}
        shown = [
            next(iter(sample_pictures({key: each[row] for key, each in small.items()}, module.inputs).values()))
            for row in range(len(rows) if small else 0)
        ]
        folder = Path(cast(TensorBoardLogger, logger_of(trainer)).log_dir)
        projector.write(folder, torch.cat(self._features).float().cpu().numpy(), rows, shown)

    def _writes(self, trainer: Trainer) -> bool:
        return writer_of(trainer) is not None and not trainer.sanity_checking

    def _every(self, trainer: Trainer) -> int:
        """Step N between the samples in the projector: every N-th sample of the validation is projected."""
        return math.ceil(len(self._loader(trainer).sampler) / self.projected)  # type: ignore[arg-type]

    def _samples(self, trainer: Trainer, scores: Scores, rows: Sequence[int]) -> list[Sample]:
        """The validation samples of a few rows, read again, because all samples together do not fit into memory."""
        loader = self._loader(trainer)
        order = list(loader.sampler)
        samples = [loader.dataset[order[row]] for row in rows]
        assert [sample["name"] for sample in samples] == [scores.names[row] for row in rows]
        return samples

    @staticmethod
    def _loader(trainer: Trainer) -> DataLoader[Sample]:
        return cast("DataLoader[Sample]", trainer.val_dataloaders)

    def _forget(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for each in (self._answers, self._features, self._thumbnails, self._hooks, self._inputs):
            each.clear()


def deciding_layers(network: Stream | MultiStream) -> list[nn.Module]:
    """The layers whose inputs, concatenated, are the features before the classifier in evaluation mode."""
    return network.fusion.deciding_layers(network.streams) if isinstance(network, MultiStream) else [network.dropout]


def thumbnails(seen: Tensor) -> Tensor:
    """Thumbnails (N, C, 32, 32) uint8 of a stream's input (N, C, S, S), or (N, C, T, 32, 32) of (N, C, T, S, S)."""
    frames = seen.float().flatten(1, -3)  # clips: C and T become one dimension
    return F.adaptive_avg_pool2d(frames, THUMBNAIL).round().byte().view(*seen.shape[:-2], THUMBNAIL, THUMBNAIL)


def first_weights(module: ActionModule) -> dict[str, Tensor]:
    """Weights (O, C, K, K) of each stream's first convolution, by name; 3D kernels are averaged over time."""
    found = {name: first_convolution(stream.backbone).weight for name, stream in module.streams.items()}
    return {name: weight.mean(2) if weight.dim() == 5 else weight for name, weight in found.items()}


def most_wrong(scores: Scores, most: int) -> list[int]:
    """At most `most` rows with a wrong prediction, in order of falling confidence."""
    probabilities = probabilities_of(scores)
    sure = np.where(probabilities.argmax(1) == scores.labels.numpy(), -1.0, probabilities.max(1))
    order = np.argsort(-sure, kind="stable")
    return [int(row) for row in order[:most] if sure[row] >= 0]


def answered(pictures: Sequence[np.ndarray], scores: Scores, row: int) -> np.ndarray:
    """A tile: pictures above the true action, the predicted action, the probabilities of both, and the sample's name.

    The text is red if the prediction is wrong.
    """
    probabilities = probabilities_of(scores)[row]
    label, answer = int(scores.labels[row]), int(probabilities.argmax())
    right, given = (f"{scores.actions[each]} {probabilities[each]:.2f}" for each in (label, answer))
    lines = [right, f"answer: {given}", scores.names[row]]
    return tile(pictures, lines, BLACK if answer == label else RED)


def wrong_pictures(
    scores: Scores, rows: Sequence[int], samples: Sequence[Sample], module: ActionModule
) -> dict[str, np.ndarray]:
    """`val/wrong`: a grid of the samples of wrongly predicted rows; empty if the samples have no pixels."""
    if not rows:
        return {"val/wrong": note("no answer is wrong")}
    shown = [list(sample_pictures(sample, module.inputs).values()) for sample in samples]
    tiles = [answered(each, scores, row) for each, row in zip(shown, rows, strict=True) if each]
    return {"val/wrong": grid(tiles)} if tiles else {}


def grad_cam_pictures(
    scores: Scores, rows: Sequence[int], samples: Sequence[Sample], module: ActionModule
) -> dict[str, np.ndarray]:
    """`val/grad_cam`: the samples of some rows beside their Grad-CAM of the true action; empty without pixels."""
    from actionrec.evaluation.gradcam import overlay, saliency  # takes a second to load

    shown = [sample_pictures(sample, module.inputs) for sample in samples]
    if not shown or set(shown[0]) != set(module.streams):
        return {}
    batch = collate(list(samples))
    inputs = {name: batch[name].to(module.device) for name in module.streams}
    # Without this, torch.compile would compile the network again because of Grad-CAM's hooks.
    with torch.compiler.set_stance("force_eager"):
        maps = saliency(module.network, inputs, batch["label"].to(module.device))
    tiles = []
    for index, (pictures, row) in enumerate(zip(shown, rows, strict=True)):
        pairs = [
            (picture, overlay(picture, maps[name][index].numpy())) for name, picture in pictures.items() if name in maps
        ]
        if pairs:
            tiles.append(answered(list(chain(*pairs)), scores, row))
    return {"val/grad_cam": grid(tiles)} if tiles else {}
