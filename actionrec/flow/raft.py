"""torchvision's RAFT (Teed & Deng, ECCV 2020): consecutive frames → flow fields, in batches, on a GPU if available."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from actionrec.settings.untrusted import read_tensors
from actionrec.system.errors import ActionRecError

NETWORKS = ("raft_small", "raft_large")
GPU_BATCH = 16  # fields; raft_large at 320×240 needs about 2 GB for one batch
MIN_SIDE = 128  # pixels; the coarsest of RAFT's four correlation levels, 1/64 of the input, needs two cells


def create_raft(
    network: str, weights: str, updates: int
) -> tuple[Callable[[Sequence[np.ndarray]], list[np.ndarray]], int]:
    """Load RAFT.

    Args:
        network: `raft_small` or `raft_large`.
        weights: name of torchvision's weights, which are downloaded, or a file with the network's state dict.
        updates: number of recurrent refinements of a field.

    Returns:
        A function of N frames (H, W, 3) uint8 RGB to N-1 fields (H, W, 2) float32, and the number of fields per batch.

    Raises:
        ActionRecError: there is no such network or weights, or the weights cannot be loaded.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _load(network, weights, device)

    def fields(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            images = torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            height, width = images.shape[-2:]
            bottom, right = _missing(height), _missing(width)
            images = nn.functional.pad(images, (0, right, 0, bottom), mode="replicate")
            flow = model(images[:-1], images[1:], num_flow_updates=updates)[-1][..., :height, :width]
            return list(flow.permute(0, 2, 3, 1).float().cpu().numpy())

    return fields, GPU_BATCH if device.type == "cuda" else 1


@cache  # loaded once per process instead of once per clip
def _load(network: str, weights: str, device: torch.device) -> nn.Module:
    if network not in NETWORKS:
        raise ActionRecError(f"flow.params.network={network}: use one of {', '.join(NETWORKS)}")
    try:
        if Path(weights).is_file():
            model = get_model(network, weights=None)
            model.load_state_dict(read_tensors(Path(weights), "flow.params.weights", "a state dict"))
        else:
            model = get_model(network, weights=weights)
    except ActionRecError:
        raise
    except KeyError:
        names = ", ".join(weight.name for weight in get_model_weights(network))
        raise ActionRecError(f"flow.params.weights={weights}: use a file or one of {names}") from None
    except Exception as error:  # failed downloads and files of other networks raise many kinds of exceptions
        reason = str(error).strip().partition("\n")[0]
        raise ActionRecError(
            f"cannot load flow.params.weights={weights} into {network}: {reason}; use a file with its state dict"
        ) from None
    return model.to(device).eval()


def _missing(side: int) -> int:
    """Pixels of padding that make a side a multiple of 8, as RAFT needs, and at least `MIN_SIDE`."""
    return max(-(-side // 8) * 8, MIN_SIDE) - side
