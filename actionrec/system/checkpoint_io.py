"""Atomic writing of checkpoints: a temporary file beside the target, synced to disk and then renamed."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from actionrec.system.files import atomic_path, remove_leftovers

HPC = "hpc_ckpt_"  # prefix of the checkpoints that Lightning writes before SLURM requeues a job
log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file beside the target, syncs the file to disk (fsync), and renames it.

    Lightning's own plugin writes into TMPDIR first, and has to copy where TMPDIR is another file system.
    Lightning's mid-epoch checkpoints before SLURM requeues a job (`hpc_ckpt_*`) are not written: a resumed training is
    bit-identical only from the end of an epoch (`last.ckpt`), and under SLURM a trainer that finds an `hpc_ckpt_*`
    file loads it over the weights that it should test.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        if path.name.startswith(HPC):
            log.warning("the job is requeued; with resume=auto the training continues after the last complete epoch")
            return
        # Serialise in memory first, as Lightning does: torch.save to a file hides the error of a full disk.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        remove_leftovers([path])
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
