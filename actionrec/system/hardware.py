"""What the machine offers: cores, and trainers for whatever device there is."""

import ctypes
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:  # heavy, and counting cores needs neither
    from lightning import Trainer

CGROUP = Path("/sys/fs/cgroup")  # where Linux says what a container or a cluster job may take


def usable_cores() -> int:
    """Cores that this process may use, which in a container or a cluster job are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that this process may still take, within the limit of its container or cluster job."""
    free = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        parts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    used -= int(parts.get("inactive_file", 0))  # copies of files, let go when memory is wanted
    return min(free, max(limit - used, 0))


def loader_workers(devices: int = 1) -> int:
    """Loader processes for each of a machine's training devices.

    Beside a GPU, all cores, up to 16 a device. Beside a network on the CPU, one for four cores: it reads faster than
    they learn, and what it takes of a core all the others wait for.
    """
    import torch

    cores = usable_cores()
    if not torch.accelerator.is_available():
        return max(cores // (4 * devices), 1)
    return min(max(cores // devices, 1), 16)


def create_trainer(precision: str = "auto", **options: Any) -> "Trainer":
    """A Lightning Trainer that writes checkpoints with `AtomicCheckpointIO`.

    Args:
        precision: Lightning's, or `auto`: bf16 where the device does it fast, else float32.
        options: of `lightning.Trainer`. Its own progress bar is off by default; `callbacks.ProgressBar` is ours. On the
            CPU batch norms are not synchronised, which torch does on GPUs alone, and all devices (`-1`) are two
            processes.

    Raises:
        ActionRecError: the machine has no such device, or Lightning knows no such option.
    """
    import lightning
    from lightning.fabric.plugins.io import CheckpointIO
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from actionrec.modules.checkpoint_io import AtomicCheckpointIO

    plugins = options.get("plugins") or []
    plugins = list(plugins) if isinstance(plugins, Sequence) else [plugins]
    if not any(isinstance(each, CheckpointIO) for each in plugins):
        options["plugins"] = [*plugins, AtomicCheckpointIO()]
    if options.get("accelerator") == "cpu":
        options["sync_batchnorm"] = False
        if options.get("devices") in (-1, "-1"):
            options["devices"] = 2
    if precision == "auto":
        precision = fast_precision(options.get("accelerator", "auto"))
    keep_freed_memory()
    options.setdefault("enable_progress_bar", False)
    try:
        return lightning.Trainer(precision=precision, **options)  # type: ignore[arg-type]
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise ActionRecError(f"trainer.accelerator={options.get('accelerator')}: {reason}; use trainer=auto") from None
    except (TypeError, ValueError) as error:
        raise ActionRecError(f"trainer: {error}; see conf/trainer/ and Lightning's Trainer") from None


def fast_precision(accelerator: str) -> str:
    """`bf16-mixed` where the device has instructions for it, else `32-true`."""
    import torch

    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto") and not torch.backends.mps.is_available():
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


def keep_freed_memory() -> None:
    """Have the C library keep the memory of large tensors for the next step, rather than return it to the system.

    Else every step on the CPU has its activations mapped in and zeroed page by page, a tenth to a fifth of its time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, 2**31 - 1)
