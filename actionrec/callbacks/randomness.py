"""Randomness that goes on where an interrupted training was."""

from typing import Any

import torch
from lightning import Callback


class RandomState(Callback):
    """Keeps the state of torch's generators in checkpoints, and sets it where a training goes on.

    Else the first epoch after an interruption would show the very order and crops of the first of all, which the
    network has seen. Without loader processes, whose own generators are lost with them, a resumed training is to the
    bit what it would have been. Several devices have several states, and go on with fresh ones.
    """

    def state_dict(self) -> dict[str, Any]:
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Here rather than at the first step: the loader's iterator, which is made before it, draws as well.
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            return
        torch.set_rng_state(state_dict["cpu"])
        if len(state_dict["cuda"]) == torch.cuda.device_count():  # it may go on on another machine
            torch.cuda.set_rng_state_all(state_dict["cuda"])
