"""RNG state in checkpoints, for resuming."""

from typing import Any

import torch
from lightning import Callback


class SaveRngState(Callback):
    """Keeps the RNG state of torch's generators in checkpoints, and restores the state when a training is resumed.

    Without this, the first epoch after a resume replays epoch 1's shuffling and crops. With `num_workers=0` a resumed
    run is bit-identical to an uninterrupted one; worker processes keep RNG state that is not saved. With several
    devices nothing is restored, because each process has a state of its own and the checkpoint has only one.
    """

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint: the former class name, so that earlier runs can be resumed."""
        return "RandomState"

    def state_dict(self) -> dict[str, Any]:
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Restored here rather than at the first step, because the loader's iterator is created before that step and
        # draws random numbers.
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            return
        torch.set_rng_state(state_dict["cpu"])
        if len(state_dict["cuda"]) == torch.cuda.device_count():  # the training may be resumed on another machine
            torch.cuda.set_rng_state_all(state_dict["cuda"])
