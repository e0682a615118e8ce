"""Grad-CAM: where in its input a stream finds what speaks for an action (Selvaraju et al., ICCV 2017)."""

import cv2
import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

from actionrec.networks.backbone import last_maps
from actionrec.networks.fusion import Stream, TwoStream

OPACITY = 0.65  # of the map over the picture, where it is largest


def saliency(network: nn.Module, inputs: tuple[Tensor, ...], answers: Tensor) -> dict[str, Tensor]:
    """How much each place speaks for an action, for each stream of a network.

    Args:
        network: a `Stream` or a `TwoStream`; its gradients stay as they are.
        inputs: of its forward, (B, C, S, S) uint8 each.
        answers: label (B,) of the action that is asked for.

    Returns:
        By role, `frame` and `flow`, or `input` for a single stream: (B, S, S) float32 on the CPU, the largest value of
        each sample 1, or all 0 where nothing speaks for it. Streams without feature maps are left out.
    """
    streams = {"frame": network.frame, "flow": network.flow} if isinstance(network, TwoStream) else {"input": network}
    training = network.training
    network.eval()
    found = {}
    try:
        for role, stream in streams.items():
            assert isinstance(stream, Stream)
            name = last_maps(stream.backbone)
            if name is None:
                continue
            layer = stream.backbone.get_submodule(name)
            with torch.enable_grad():
                # Frozen streams have no gradients of their own, but their input may.
                asked = tuple(each.to(stream.mean.dtype).requires_grad_() for each in inputs)
                maps = LayerGradCam(network, layer).attribute(asked, target=answers, relu_attributions=True)
            size = inputs[0].shape[-2:]
            wide = F.interpolate(maps.detach().float(), size, mode="bilinear")[:, 0]
            strongest = wide.amax((1, 2), keepdim=True).clamp_min(1e-12)
            found[role] = (wide / strongest).nan_to_num().cpu()  # networks that diverged look nowhere
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
