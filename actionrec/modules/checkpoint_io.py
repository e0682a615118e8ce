"""How the trainer writes checkpoints: whole or not at all, beside their target."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from actionrec.system.files import atomic_path, remove_leftovers

HPC = "hpc_ckpt_"  # begins the names of Lightning's own checkpoints before a cluster job is requeued
log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, which it replaces once it is complete and on the disk.

    Lightning's own writes it into TMPDIR first, and copies it where that is another file system. Its checkpoints in
    the middle of an epoch, before SLURM requeues a job, are left out: a training goes on to the bit from the end of an
    epoch alone (`last.ckpt`), and a trainer that finds such a file under SLURM loads it over whatever it is to test.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        if path.name.startswith(HPC):
            log.warning("the job is requeued, and then goes on after the last whole epoch with resume=auto")
            return
        # In memory first, as Lightning does: to a file, torch.save hides the error of a full disk behind its own.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        remove_leftovers([path])
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
