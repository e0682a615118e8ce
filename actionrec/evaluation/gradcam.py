"""Grad-CAM: where in its input a stream finds what speaks for an action (Selvaraju et al., ICCV 2017)."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import functional as F

from actionrec.networks.backbone import last_maps
from actionrec.networks.streams import MultiStream, Stream

OPACITY = 0.65  # of the map over the picture, where it is largest


def saliency(network: Stream | MultiStream, inputs: Mapping[str, Tensor], answers: Tensor) -> dict[str, Tensor]:
    """How much each place speaks for an action, for each stream of a network.

    Args:
        network: its gradients stay as they are.
        inputs: of its streams by name, in their order: uint8 (B, C, S, S), or (B, C, T, S, S) of clips.
        answers: label (B,) of the action that is asked for.

    Returns:
        By stream: (B, S, S) float32 on the CPU, of clips the mean over time; the largest value of each sample is 1, or
        all are 0 where nothing speaks for the action. Streams without feature maps are left out.
    """
    streams = network.streams if isinstance(network, MultiStream) else dict.fromkeys(inputs, network)
    training = network.training
    network.eval()
    found = {}
    try:
        for name, stream in streams.items():
            layer = last_maps(stream.backbone)
            if layer is None:
                continue
            with torch.enable_grad():
                # Frozen streams have no gradients of their own, but their input may.
                asked = tuple(inputs[each].to(stream.mean.dtype).requires_grad_() for each in streams)
                seen = LayerGradCam(network, stream.backbone.get_submodule(layer))
                maps = seen.attribute(asked, target=answers, relu_attributions=True).detach().float()
            flat = maps.mean(2) if maps.dim() == 5 else maps
            wide = F.interpolate(flat, inputs[name].shape[-2:], mode="bilinear")[:, 0]
            strongest = wide.amax((1, 2), keepdim=True).clamp_min(1e-12)
            found[name] = (wide / strongest).nan_to_num().cpu()  # networks that diverged look nowhere
    finally:
        network.train(training)
    return found


def overlay(picture: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """A map (H, W) from 0 to 1 as colours over the gray picture (H, W, 3) uint8: bright yellow is most."""
    gray = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(float)
    levels = (255 * strength).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = OPACITY * np.sqrt(strength)[..., None]
    return ((1 - share) * gray + share * colours).round().astype(np.uint8)
