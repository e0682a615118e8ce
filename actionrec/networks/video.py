"""Video backbones: video classifiers of torchvision without their classification layer."""

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

KEY = "model.clip.backbone"  # key of the settings, for messages


class VideoBackbone(Backbone):
    """A video classifier without its classification layer: (B, 3, T, S, S) → (B, features).

    `image_size` is None, since `create` has checked the number of frames and the size.

    Args:
        network: the classifier without its head.
        features: width of the output.
        maps_of: name of the layer whose output (B, C, T', H', W') is the last feature volume.
        mean, std: normalisation of R, G and B for these weights, in units of uint8.
        custom_constants: whether the user has set `mean` or `std`.
    """

    def __init__(
        self,
        network: nn.Module,
        features: int,
        maps_of: str,
        mean: Sequence[float],
        std: Sequence[float],
        custom_constants: bool = False,
    ):
        super().__init__(network, features, mean, std, None, custom_constants)
        self._last_maps = f"network.{maps_of}"

    def maps(self, x: Tensor) -> Tensor:
        """Last feature maps (B, C, H', W'), averaged over time; for an MViT, the patch embedding."""
        return super().maps(x).mean(2)

    def pools_maps(self) -> bool:
        return not isinstance(self.network, MViT)  # the features of an MViT are those of the class token


def create(
    name: str,
    weights: str | None,
    frames: int,
    size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> VideoBackbone:
    """Create a backbone for clips, normalised float32 (B, 3, frames, size, size).

    Args:
        name: a video classifier of torchvision: `r3d_18`, `mc3_18`, `r2plus1d_18` (Tran et al., CVPR 2018), `s3d` (Xie
            et al., ECCV 2018), `mvit_v1_b` (Fan et al., ICCV 2021), `mvit_v2_s` (Li et al., CVPR 2022), `swin3d_t`,
            `swin3d_s` or `swin3d_b` (Liu et al., CVPR 2022).
        weights: a torchvision weights name (`DEFAULT`, `KINETICS400_V1`), trained on Kinetics-400, the file of a state
            dict, or None for random weights.
        frames: number of frames in a clip.
        size: side of a frame in pixels.
        mean, std: normalisation of R, G and B, from 0 to 1; None takes the constants that the weights were trained
            with. Random weights and files take the constants of the architecture's default weights.

    Raises:
        ActionRecError: the backbone or the weights do not exist, the weights cannot be downloaded, or the network does
            not accept the number of frames or the size.
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
        custom_constants=mean is not None or std is not None,
    )


@torch.no_grad()
def check_clip(name: str, frames: int, size: int) -> None:
    """Raise unless a backbone accepts clips (1, 3, frames, size, size).

    The check runs on the meta device, which has shapes but no values. It takes a fraction of a second, while the
    forward pass of a large network takes many seconds.
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
    except Exception as error:  # networks raise many kinds of exceptions for unsuitable clips
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ActionRecError(
            f"{refusal} ({reason:.120}); use more data.clip.frames, a larger data.size or another {KEY}.name"
        ) from None
    assert found == (1, features), found


def without_head(classifier: nn.Module) -> tuple[nn.Module, int, str]:
    """Remove the head of a torchvision video classifier, including its dropout; the result shares the parameters.

    Returns:
        The network, (B, 3, T, S, S) → (B, features); the number of features; and the name of the layer whose output is
        the last feature volume, (B, C, T', H', W'). Except for MViT, the features are the mean of this volume for any
        size, so S3D, whose own pooling is built for 16 frames of 224 pixels, accepts smaller clips and fewer frames.
    """
    if isinstance(classifier, MViT):
        features = classifier.head[-1].in_features
        classifier.head = nn.Identity()
        return classifier, features, "conv_proj"
    layers = OrderedDict(classifier.named_children())
    del layers["avgpool"]
    _, head = layers.popitem()  # a linear layer in ResNets and Swin, dropout and a 1×1×1 convolution in S3D
    last = [layer for layer in head.modules() if isinstance(layer, (nn.Linear, nn.Conv3d))][-1]
    # Swin has channels last: (B, T', H', W', C).
    layers["volume"] = Permute([0, 4, 1, 2, 3]) if "norm" in layers else nn.Identity()
    layers["pool"] = nn.AdaptiveAvgPool3d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers), last.in_features if isinstance(last, nn.Linear) else last.in_channels, "volume"


def _fixed_clip(name: str) -> tuple[int, int]:
    """Number of frames and side in pixels of the clips for which torchvision builds an MViT."""
    known = torchvision.models.get_model_weights(name).DEFAULT.meta
    return known["min_temporal_size"], known["min_size"][0]
