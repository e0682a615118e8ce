"""LightningModules of one stream and of several streams, of any modality."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from actionrec import streams as modalities
from actionrec.modules.base import ActionModule
from actionrec.networks import backbone as backbones
from actionrec.networks import video
from actionrec.networks.backbone import Backbone
from actionrec.networks.fusions import OfLogits
from actionrec.networks.stream import Bagged, Stream
from actionrec.networks.streams import MultiStream
from actionrec.streams import Modality
from actionrec.system.errors import ActionRecError

_TAKEN = ("label", "name")  # keys of a batch beside the streams


class _Streams(ActionModule):
    """Base of the modules of one stream and of several streams.

    Attributes:
        takes: names of the streams that a subclass is restricted to; None allows any streams.
    """

    takes: ClassVar[frozenset[str] | None] = None

    def _split(
        self, options: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[dict[str, Mapping[str, Any]], dict[str, Any]]:
        """Split `options` into the settings of the data module's streams, in its order, and all other options."""
        names = list(inputs["streams"])
        if self.takes and self.takes != set(names):
            wanted, found = (", ".join(sorted(each)) for each in (self.takes, names))
            raise ActionRecError(f"{type(self).__name__} takes {wanted}, not {found}; use actionrec.modules.create")
        if missing := [name for name in names if name not in options]:
            raise ActionRecError(f"model.{missing[0]} is missing; the data have that stream, so give its backbone")
        others = {key: value for key, value in options.items() if key not in names}
        if unseen := [key for key, value in others.items() if isinstance(value, Mapping)]:
            raise ActionRecError(
                f"model.{unseen[0]} is the setting of a stream that the data do not have; leave it out"
            )
        return {name: options[name] for name in names}, others


class StreamModule(_Streams):
    """Classifies the input of one stream, found in the batch under the stream's name → logits (B, K).

    Args:
        dropout: of the features.
        options: under the name of the stream `{"backbone": …}` with the arguments of `networks.backbone.create`, or of
            `networks.video.create` for a stream of clips; for all other options see `ActionModule`.
    """

    network: Stream

    def __init__(
        self,
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        **options: Any,
    ):
        settings, others = self._split(options, inputs)
        if len(settings) != 1:
            raise ActionRecError(f"{type(self).__name__} takes one stream, not {', '.join(settings) or 'none'}")
        streams = create_streams(settings, len(actions), dropout, inputs)
        [network] = streams.values()
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing, **others)
        self.save_hyperparameters()
        self.hparams.update(_without_weights(settings, streams))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        [name] = self.inputs["streams"]
        return self.network(batch[name])


class MultiStreamModule(_Streams):
    """Classifies the inputs of several streams, found in the batch under the streams' names → logits (B, K).

    Args:
        dropout: of the features of all streams.
        fusion: see `networks.fusions.create`.
        frozen: names of streams that do not learn.
        members: number of networks of each stream whose probabilities are averaged, see `networks.stream.Bagged`.
        stream_loss: weight, beside the loss of the fusion, of the mean loss of the streams' own heads; without it the
            stream that learns sooner keeps the others from learning (Wang et al., CVPR 2020).
        stream_dropout: probability with which a sample in training lacks one stream, whose logits then are zero.
        options: under the name of each stream its settings, see `StreamModule`; else see `ActionModule`.
    """

    network: MultiStream

    def __init__(
        self,
        actions: Sequence[str],
        inputs: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        fusion: str | Mapping[str, Any] = "concat",
        frozen: Sequence[str] = (),
        **options: Any,
    ):
        settings, others = self._split(options, inputs)
        # Settings that earlier versions lacked: the hyper-parameters of their checkpoints stay as they are.
        members = others.pop("members", 1)
        stream_loss, stream_dropout = (others.pop(key, 0.0) for key in ("stream_loss", "stream_dropout"))
        streams = create_streams(settings, len(actions), dropout, inputs, members)
        network = MultiStream(streams, len(actions), fusion, frozen)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing, **others)
        self.stream_loss, self.stream_dropout = stream_loss, stream_dropout
        if (stream_loss or stream_dropout) and not isinstance(network.fusion, OfLogits):
            raise ActionRecError(
                f"model.fusion={fusion} does not fuse the logits of the streams; use concat, average, product, max or "
                "gated, or set model.stream_loss and model.stream_dropout to 0"
            )
        self.save_hyperparameters()
        self.hparams.update(_without_weights(settings, streams))

    def learn(self, batch: dict[str, Any], objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        if not (self.stream_loss or self.stream_dropout):
            return super().learn(batch, objective)
        fusion = self.network.fusion
        assert isinstance(fusion, OfLogits)  # other fusions are refused when the module is made
        alone = {name: stream(batch[name]) for name, stream in self.network.streams.items()}
        logits = fusion.combine(lacking_one(alone, self.stream_dropout))
        loss = objective(logits)
        if self.stream_loss:
            loss = loss + self.stream_loss * torch.stack([objective(each) for each in alone.values()]).mean()
        return logits, loss

    def forward(self, batch: dict[str, Any]) -> Tensor:
        # A batch for a prediction lacks the streams that a gate leaves out.
        return self.network(*(batch.get(name) for name in self.network.names))

    def predict_step(self, batch: dict[str, Any], index: int) -> dict[str, Tensor]:
        """Features (B, F) of the frozen streams, on the CPU."""
        return {name: self.network.streams[name].embed(batch[name]).float().cpu() for name in self.network.frozen}


def lacking_one(logits: Mapping[str, Tensor], probability: float) -> Mapping[str, Tensor]:
    """Logits (B, K) of each stream; with a probability each sample lacks one stream, drawn at random."""
    if not probability:
        return logits
    first = next(iter(logits.values()))
    rows = (len(first), 1)
    drawn = torch.randint(len(logits), rows, device=first.device)
    dropped = torch.where(torch.rand(rows, device=first.device) < probability, drawn, -1)
    return {name: each.masked_fill(dropped == row, 0.0) for row, (name, each) in enumerate(logits.items())}


def create_streams(
    settings: Mapping[str, Mapping[str, Any]],
    classes: int,
    dropout: float,
    inputs: Mapping[str, Any],
    members: int = 1,
) -> dict[str, Stream]:
    """Create the streams of a network, by name.

    Args:
        settings: of each stream, see `StreamModule`.
        classes: number of actions.
        dropout: of the features.
        inputs: the data module's `inputs`.
        members: number of networks of each stream.

    Raises:
        ActionRecError: see `create_stream`; or the name of a stream is another key of the batch.
    """
    if taken := [name for name in settings if name in _TAKEN]:
        raise ActionRecError(f"a stream cannot be called {taken[0]}, which is a key of every batch; rename the stream")
    seen = {name: modalities.create(inputs["streams"][name]) for name in settings}
    made = {
        name: [create_stream(seen[name], each["backbone"], classes, dropout, inputs["size"]) for _ in range(members)]
        for name, each in settings.items()
    }
    return {name: Bagged(networks) if members > 1 else networks[0] for name, networks in made.items()}


def create_stream(modality: Modality, backbone: Mapping[str, Any], classes: int, dropout: float, size: int) -> Stream:
    """Create the stream of a modality; modality and backbone weights decide the normalisation of its input.

    Args:
        modality: of the stream's input.
        backbone: arguments of `networks.backbone.create`, or of `networks.video.create` for clips (3, T, S, S).
        classes: number of actions.
        dropout: of the features.
        size: side S of the input, in pixels.

    Raises:
        ActionRecError: there is no such backbone, or the backbone does not take samples of that shape.
    """
    shape = modality.shape(size)
    network: Backbone
    if len(shape) == 4:
        network = video.create(**backbone, frames=shape[1], size=size)
    else:
        network = backbones.create(**backbone, in_channels=shape[0])
        backbones.check_size(network, backbone["name"], shape[-1], shape[0])
    mean, std = modality.normalisation(network.mean, network.std)
    return Stream(network, classes, mean, std, dropout, dimensions=1 + len(shape))


def _without_weights(
    settings: Mapping[str, Mapping[str, Any]], streams: Mapping[str, Stream]
) -> dict[str, dict[str, Any]]:
    """Settings that rebuild the streams without loading pretrained weights; a checkpoint provides the weights."""
    return {
        name: {**each, "backbone": without_weights(each["backbone"], streams[name].backbone)}
        for name, each in settings.items()
    }


def without_weights(settings: Mapping[str, Any], backbone: Backbone) -> dict[str, Any]:
    """Settings that rebuild a backbone without loading pretrained weights; a checkpoint provides the weights."""
    found = {**settings, "weights": None}
    if backbone.image_size and not settings["name"].startswith("timm:"):  # a timm name implies the image size
        found["image_size"] = backbone.image_size
    return found
