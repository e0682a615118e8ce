"""Pictures of a network's input: the middle frame, the streams' inputs, and Grad-CAM of an action."""

import base64
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from actionrec.evaluation.gradcam import overlay, saliency
from actionrec.modules.base import ActionModule
from actionrec.networks.streams import MultiStream
from actionrec.storage.video import resize_short_side
from actionrec.streams import Modality

SIDE = 320  # short side of the middle frame in pixels
_QUALITY = 88  # of JPEG


class Seen(NamedTuple):
    """The input of a network for one window.

    Args:
        frame: the middle frame, a JPEG.
        inputs: the sample in the middle, by stream: (C, S, S) uint8, or (C, T, S, S) of clips.
    """

    frame: bytes
    inputs: dict[str, Tensor]

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.frame) + sum(each.nbytes for each in self.inputs.values())


def jpeg(picture: np.ndarray) -> bytes:
    """Encode a picture (H, W, 3) uint8 RGB."""
    _, code = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return code.tobytes()


def data_url(picture: np.ndarray | bytes) -> str:
    """A picture (H, W, 3) uint8 RGB, or a JPEG, as an address that holds the picture itself."""
    code = picture if isinstance(picture, bytes) else jpeg(picture)
    return f"data:image/jpeg;base64,{base64.b64encode(code).decode()}"


def small(picture: np.ndarray) -> np.ndarray:
    """A picture with a short side of `SIDE` pixels at most."""
    return resize_short_side(picture, SIDE) if min(picture.shape[:2]) > SIDE else picture


def of_streams(
    module: ActionModule, modalities: Mapping[str, Modality], inputs: Mapping[str, Tensor], label: int
) -> dict[str, dict[str, str]]:
    """Pictures of each stream as data URLs: `input`, and `looked` with Grad-CAM over it.

    The input of a network of frames is left out, since it is the middle frame; a stream without feature maps has no
    Grad-CAM.

    Args:
        module: the network.
        modalities: of the streams.
        inputs: see `Seen`.
        label: the action that Grad-CAM explains.
    """
    maps = _maps(module, inputs, label)
    found: dict[str, dict[str, str]] = {}
    for name, sample in inputs.items():
        picture = np.ascontiguousarray(modalities[name].picture(sample))
        found[name] = {} if modalities[name].of_stills else {"input": data_url(picture)}
        if name in maps:
            found[name]["looked"] = data_url(overlay(picture, maps[name][0].numpy()))
    return found


def _maps(module: ActionModule, inputs: Mapping[str, Tensor], label: int) -> dict[str, Tensor]:
    answers = torch.tensor([label], device=module.device)
    batch = {name: each[None].to(module.device) for name, each in inputs.items()}
    network = module.network
    if isinstance(network, MultiStream) and set(network.names) - set(batch):
        # A gate leaves streams out, whose inputs were not made: each of the others is explained by its own score.
        parts = [saliency(network.streams[name], {name: each}, answers) for name, each in batch.items()]
        return {name: maps for part in parts for name, maps in part.items()}
    return saliency(network, batch, answers)
