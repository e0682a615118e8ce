"""LightningModules of one stream and of several, of whatever they see."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from actionrec import streams as modalities
from actionrec.modules.base import ActionModule
from actionrec.networks import backbone as backbones
from actionrec.networks import video
from actionrec.networks.backbone import Backbone
from actionrec.networks.streams import MultiStream, Stream
from actionrec.streams import Modality
from actionrec.system.errors import ActionRecError

_TAKEN = ("label", "name")  # what a batch holds beside its streams


class _Streams(ActionModule):
    """What modules of one stream and of several share.

    Attributes:
        takes: names of the streams of a class that is for these alone; None where it takes any.
    """

    takes: ClassVar[frozenset[str] | None] = None

    def _split(
        self, options: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[dict[str, Mapping[str, Any]], dict[str, Any]]:
        """The settings of the streams that a data module gives, in its order, and the other options."""
        names = list(inputs["streams"])
        if self.takes and self.takes != set(names):
            wanted, found = (", ".join(sorted(each)) for each in (self.takes, names))
            raise ActionRecError(f"{type(self).__name__} takes {wanted}, not {found}; use actionrec.modules.create")
        if missing := [name for name in names if name not in options]:
            raise ActionRecError(f"model.{missing[0]} is missing, the settings of the stream that the data have")
        others = {key: value for key, value in options.items() if key not in names}
        if unseen := [key for key, value in others.items() if isinstance(value, Mapping)]:
            raise ActionRecError(
                f"model.{unseen[0]} is the setting of a stream, which the data do not have; leave it out"
            )
        return {name: options[name] for name in names}, others


class StreamModule(_Streams):
    """Classifies what one stream sees, under the stream's name in the batch → logits (B, K).

    Args:
        dropout: of the features.
        options: under the name of the stream `{"backbone": arguments of networks.backbone.create}`, or those of
            `networks.video.create` for a stream of clips; else see `ActionModule`.
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
    """Classifies what several streams see of the same samples, each under its name in the batch → logits (B, K).

    Args:
        dropout: of the features of all streams.
        fusion: see `networks.fusions.create`.
        frozen: names of streams that do not learn.
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
        streams = create_streams(settings, len(actions), dropout, inputs)
        network = MultiStream(streams, len(actions), fusion, frozen)
        super().__init__(network, actions, inputs, optimizer, scheduler, label_smoothing, **others)
        self.save_hyperparameters()
        self.hparams.update(_without_weights(settings, streams))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.network(*(batch[name] for name in self.network.names))

    def predict_step(self, batch: dict[str, Any], index: int) -> dict[str, Tensor]:
        """Features (B, F) of the frozen streams, on the CPU."""
        return {name: self.network.streams[name].embed(batch[name]).float().cpu() for name in self.network.frozen}


def create_streams(
    settings: Mapping[str, Mapping[str, Any]], classes: int, dropout: float, inputs: Mapping[str, Any]
) -> dict[str, Stream]:
    """The streams of a network, by name.

    Args:
        settings: of each stream, see `StreamModule`.
        classes: number of actions.
        dropout: of the features.
        inputs: what the data module's `inputs` says.

    Raises:
        ActionRecError: see `create_stream`; or a stream has a name of something else in a batch.
    """
    if taken := [name for name in settings if name in _TAKEN]:
        raise ActionRecError(f"a stream cannot be called {taken[0]}, which is a key of every batch; rename it")
    seen = {name: modalities.create(inputs["streams"][name]) for name in settings}
    return {
        name: create_stream(seen[name], each["backbone"], classes, dropout, inputs["size"])
        for name, each in settings.items()
    }


def create_stream(modality: Modality, backbone: Mapping[str, Any], classes: int, dropout: float, size: int) -> Stream:
    """The stream of a modality, with the normalisation that is the modality's for the backbone's weights.

    Args:
        modality: what the stream sees.
        backbone: arguments of `networks.backbone.create`, of `networks.video.create` for clips (3, T, S, S).
        classes: number of actions.
        dropout: of the features.
        size: side of what it sees, in pixels.

    Raises:
        ActionRecError: there is no such backbone, or it does not take samples of that shape.
    """
    shape = modality.shape(size)
    network: Backbone
    if len(shape) == 4:
        network = video.create(**backbone, frames=shape[1], size=size)
    else:
        network = backbones.create(**backbone, in_channels=shape[0])
        backbones.check_size(network, backbone["name"], size, shape[0])
    mean, std = modality.normalisation(network.mean, network.std)
    return Stream(network, classes, mean, std, dropout, dimensions=1 + len(shape))


def _without_weights(
    settings: Mapping[str, Mapping[str, Any]], streams: Mapping[str, Stream]
) -> dict[str, dict[str, Any]]:
    """Settings that build the streams again without pretrained weights, which a checkpoint replaces."""
    return {
        name: {**each, "backbone": without_weights(each["backbone"], streams[name].backbone)}
        for name, each in settings.items()
    }


def without_weights(settings: Mapping[str, Any], backbone: Backbone) -> dict[str, Any]:
    """Settings that build a backbone again without its pretrained weights, which a checkpoint replaces."""
    found = {**settings, "weights": None}
    if backbone.image_size and not settings["name"].startswith("timm:"):  # timm's names say it
        found["image_size"] = backbone.image_size
    return found
