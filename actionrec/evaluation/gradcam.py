"""Grad-CAM: where in its input a stream finds what speaks for an action (Selvaraju et al., ICCV 2017)."""

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

from actionrec.networks.backbone import last_maps
from actionrec.networks.fusion import Stream, TwoStream


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
            found[role] = (wide / wide.amax((1, 2), keepdim=True).clamp_min(1e-12)).cpu()
    finally:
        network.train(training)
    return found
