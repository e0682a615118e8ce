"""The machine's cores, memory and devices, and a Lightning Trainer for them."""

import ctypes
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:  # Lightning is slow to import, and counting cores does not need it
    from lightning import Trainer

CGROUP = Path("/sys/fs/cgroup")  # cgroup v2: memory limits of containers and cluster jobs on Linux


def usable_cores() -> int:
    """Number of cores in this process's CPU affinity; a container or cluster job may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that this process may still allocate, within the cgroup limit of its container or cluster job."""
    free = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text())  # the text "max" if there is no limit
        used = int((CGROUP / "memory.current").read_text())
        parts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    used -= int(parts.get("inactive_file", 0))  # page cache, which the kernel reclaims under memory pressure
    return min(free, max(limit - used, 0))


def loader_workers(devices: int = 1) -> int:
    """Number of data loader processes for each training device.

    When training on GPUs, all cores are shared by the loaders, up to 16 loaders per device. When training on the CPU,
    there is one loader per four cores: it keeps up, and every core it uses slows down all compute threads.
    """
    import torch

    cores = usable_cores()
    if not torch.accelerator.is_available():
        return max(cores // (4 * devices), 1)
    return min(max(cores // devices, 1), 16)


def create_trainer(precision: str = "auto", **options: Any) -> "Trainer":
    """A Lightning Trainer that writes checkpoints with `AtomicCheckpointIO`.

    Args:
        precision: a precision of Lightning, or `auto`: bf16 on devices with bf16 instructions, otherwise float32.
        options: of `lightning.Trainer`. Lightning's progress bar is off by default; `callbacks.ProgressBar` replaces
            it. On the CPU, `sync_batchnorm` is off, since torch synchronises batch norms on GPUs only, and
            `devices=-1` starts two processes.

    Raises:
        ActionRecError: the machine lacks the device, or Lightning does not know an option.
    """
    import lightning
    from lightning.fabric.plugins.io import CheckpointIO
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from actionrec.system.checkpoint_io import AtomicCheckpointIO

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
    disable_malloc_trim()
    options.setdefault("enable_progress_bar", False)
    try:
        return lightning.Trainer(precision=precision, **options)  # type: ignore[arg-type]
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise ActionRecError(f"trainer.accelerator={options.get('accelerator')}: {reason}; use trainer=auto") from None
    except (TypeError, ValueError) as error:
        raise ActionRecError(f"trainer: {error}; see conf/trainer/ and Lightning's Trainer") from None


def fast_precision(accelerator: str) -> str:
    """`bf16-mixed` if the device has bf16 instructions, otherwise `32-true`."""
    import torch

    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto") and not torch.backends.mps.is_available():
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


def disable_malloc_trim() -> None:
    """Make glibc keep freed memory in this process instead of returning it to the operating system.

    Otherwise glibc returns large buffers after each step on the CPU, and the kernel has to map and zero the pages of
    the activations again, which takes a tenth to a fifth of the step.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    _mallopt((mmap_max, 0), (trim_threshold, 2**31 - 1))


def share_heap() -> None:
    """Make all threads of this process take memory from one heap of glibc.

    Otherwise each thread has an arena of its own, whose freed pieces the others do not use. Where one thread makes
    arrays that another one drops, as in a prediction, the memory grows for hours.
    """
    arena_max = -8  # M_ARENA_MAX of malloc.h
    _mallopt((arena_max, 1))


def _mallopt(*options: tuple[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for option, value in options:
            library.mallopt(option, value)
