"""Backbones that see a clip: video classifiers without their head."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.video.mvit import MViT
from torchvision.ops.misc import Permute

from actionrec.networks.backbone import Backbone
from actionrec.networks.weights import file_of, get_model, in_uint8, load_file, torchvision_constants
from actionrec.system.errors import ActionRecError

KEY = "model.clip.backbone"  # the settings of a clip's backbone, for messages


class VideoBackbone(Backbone):
    """A video classifier whose head is taken off: (B, 3, T, S, S) → (B, features).

    It has no `image_size`: `create` builds it for one number of frames and one size, and refuses others.

    Args:
        network: the classifier without its head; its layer `maps_of` gives the volume (B, C, T', H', W') to look at.
        features: width of its output.
        maps_of: name of that layer.
        mean, std: of R, G and B, in units of uint8, that its weights were trained with.
        chosen: whether the user has set `mean` or `std`.
    """

    def __init__(
        self,
        network: nn.Module,
        features: int,
        maps_of: str,
        mean: Sequence[float],
        std: Sequence[float],
        chosen: bool = False,
    ):
        super().__init__(network, features, mean, std, None, chosen)
        self._last_maps = f"network.{maps_of}"

    def maps(self, x: Tensor) -> Tensor:
        """Last feature maps (B, C, H', W'), the mean over time; of an MViT they are the embedding of the patches."""
        return super().maps(x).mean(2)

    def pools_maps(self) -> bool:
        return not isinstance(self.network, MViT)  # whose features are those of the class token


def create(
    name: str,
    weights: str | None,
    frames: int,
    size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> VideoBackbone:
    """Create a backbone of clips, normalised float32 (B, 3, frames, size, size).

    Args:
        name: a video classifier of torchvision: `r3d_18`, `mc3_18`, `r2plus1d_18` (Tran et al., CVPR 2018), `s3d` (Xie
            et al., ECCV 2018), `mvit_v1_b` (Fan et al., ICCV 2021), `mvit_v2_s` (Li et al., CVPR 2022), `swin3d_t`,
            `swin3d_s` or `swin3d_b` (Liu et al., CVPR 2022).
        weights: the name of torchvision's (`DEFAULT`, `KINETICS400_V1`), the file of a state dict, or None for random
            ones. Those that torchvision has were trained on Kinetics-400.
        frames: of a clip.
        size: side of a frame.
        mean, std: of R, G and B from 0 to 1; None for those that the weights were trained with. Random weights and
            files take those of the architecture's default weights.

    Raises:
        ActionRecError: there is no such backbone or weights, they cannot be had, or the network does not take clips of
            so many frames or of that size.
    """
    known = torchvision.models.list_models(module=torchvision.models.video)
    if name not in known:
        raise ActionRecError(f"{KEY}.name={name}: not a torchvision video classifier; use one of {', '.join(known)}")
    check_clip(name, frames, size)  # before weights are downloaded
    file = file_of(weights)
    classifier = get_model(name, None if file else weights, KEY)
    if file:
        load_file(classifier, file, KEY)
    own_mean, own_std = torchvision_constants(name, weights)
    return VideoBackbone(
        *without_head(classifier),
        own_mean if mean is None else in_uint8("mean", mean, KEY),
        own_std if std is None else in_uint8("std", std, KEY),
        chosen=mean is not None or std is not None,
    )


@torch.no_grad()
def check_clip(name: str, frames: int, size: int) -> None:
    """Raise unless a backbone takes clips (1, 3, frames, size, size).

    A network on the meta device is asked, which has shapes but no weights: that takes a fraction of a second, where one
    clip through a large network takes many.
    """
    with torch.device("meta"):
        network, features, _ = without_head(get_model(name, None, KEY).eval())
        clip = torch.empty(1, 3, frames, size, size)
    refusal = f"{KEY}.name={name} does not take data.clip.frames={frames} of data.size={size}"
    if isinstance(network, MViT) and (frames, size) != (fixed := _fixed_clip(name)):
        raise ActionRecError(
            f"{refusal}: it has positional encodings for one kind of clip; use data.clip.frames={fixed[0]} with "
            f"data.size={fixed[1]}, or another {KEY}.name"
        )
    try:
        found = tuple(network(clip).shape)
    except Exception as error:  # whatever a network makes of a clip that it does not take
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ActionRecError(
            f"{refusal} ({reason:.120}); use more data.clip.frames, a larger data.size or another {KEY}.name"
        ) from None
    assert found == (1, features), found


def without_head(classifier: nn.Module) -> tuple[nn.Module, int, str]:
    """Take the head off a torchvision video classifier, dropout included; the parameters are shared.

    Returns:
        The network, (B, 3, T, S, S) → (B, features); the number of features; and the name of the layer that gives the
        last volume, (B, C, T', H', W'). Except for MViT, the features are the mean of that volume, whatever its size:
        S3D, whose own pooling is built for 16 frames of 224, so takes smaller clips and fewer frames.
    """
    if isinstance(classifier, MViT):
        features = classifier.head[-1].in_features
        classifier.head = nn.Identity()
        return classifier, features, "conv_proj"
    layers = OrderedDict(classifier.named_children())
    del layers["avgpool"]
    _, head = layers.popitem()  # ResNets and Swin have a linear layer, S3D has dropout and a 1×1×1 convolution
    last = [layer for layer in head.modules() if isinstance(layer, (nn.Linear, nn.Conv3d))][-1]
    # Swin's volume is (B, T', H', W', C).
    layers["volume"] = Permute([0, 4, 1, 2, 3]) if "norm" in layers else nn.Identity()
    layers["pool"] = nn.AdaptiveAvgPool3d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers), last.in_features if isinstance(last, nn.Linear) else last.in_channels, "volume"


def _fixed_clip(name: str) -> tuple[int, int]:
    """The number of frames and the size of the clips that torchvision builds an MViT for."""
    known = torchvision.models.get_model_weights(name).DEFAULT.meta
    return known["min_temporal_size"], known["min_size"][0]
