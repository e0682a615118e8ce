"""Grad-CAM: the regions of a stream's input that raise the score of an action (Selvaraju et al., ICCV 2017)."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import functional as F

from actionrec.networks.backbone import last_maps
from actionrec.networks.stream import Stream
from actionrec.networks.streams import MultiStream

OPACITY = 0.65  # of the map over the picture, at the map's maximum


def saliency(network: Stream | MultiStream, inputs: Mapping[str, Tensor], answers: Tensor) -> dict[str, Tensor]:
    """Grad-CAM maps of an action, for each stream of a network.

    Args:
        network: the network; gradients of its parameters are not changed.
        inputs: inputs by stream, in the network's order: uint8 (B, C, S, S), or (B, C, T, S, S) of clips. Those of
            streams that a gate leaves out may be missing.
        answers: label (B,) of the action that the maps explain.

    Returns:
        By stream: maps (B, S, S) float32 on the CPU, averaged over time for clips. The maximum of a sample's map is 1;
        the map is 0 everywhere if no region raises the score. Streams without feature maps are left out,
        and streams that a gate leaves out, too.
    """
    if isinstance(network, MultiStream):
        names, streams = network.names, {name: network.streams[name] for name in network.used}
    else:
        names, streams = tuple(inputs), dict.fromkeys(inputs, network)

    def logits(*asked: Tensor) -> Tensor:
        given = dict(zip(streams, asked, strict=True))
        return network(*(given.get(name) for name in names))

    training = network.training
    network.eval()
    found = {}
    try:
        for name, stream in streams.items():
            layer = last_maps(stream.backbone)
            if layer is None:
                continue
            with torch.enable_grad():
                # The weights of frozen streams need no gradients, so the inputs must, for gradients to flow at all.
                asked = tuple(inputs[each].to(stream.mean.dtype).requires_grad_() for each in streams)
                seen = LayerGradCam(logits, stream.backbone.get_submodule(layer))
                maps = seen.attribute(asked, target=answers, relu_attributions=True).detach().float()
            flat = maps.mean(2) if maps.dim() == 5 else maps
            wide = F.interpolate(flat, inputs[name].shape[-2:], mode="bilinear")[:, 0]
            strongest = wide.amax((1, 2), keepdim=True).clamp_min(1e-12)
            found[name] = (wide / strongest).nan_to_num().cpu()  # a diverged network has NaN maps
    finally:
        network.train(training)
    return found


def overlay(picture: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Overlay a map (H, W) from 0 to 1 on the gray version of a picture (H, W, 3) uint8; bright yellow is 1."""
    gray = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(float)
    levels = (255 * strength).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = OPACITY * np.sqrt(strength)[..., None]
    return ((1 - share) * gray + share * colours).round().astype(np.uint8)
