"""What the machine offers: cores, and trainers for whatever device there is."""

import os
import sys
from typing import TYPE_CHECKING, Any

from actionrec.errors import ActionRecError

if TYPE_CHECKING:  # heavy, and counting cores needs neither
    from lightning import Trainer


def usable_cores() -> int:
    """Cores that this process may use, which in a container or a cluster job are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def create_trainer(precision: str = "auto", **options: Any) -> "Trainer":
    """A Lightning Trainer.

    Args:
        precision: Lightning's, or `auto`: bf16 where the device does it fast, else float32.
        options: of `lightning.Trainer`. The progress bar shows on terminals only, unless they say otherwise.

    Raises:
        ActionRecError: the machine has no such device, or Lightning knows no such option.
    """
    import lightning
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    if precision == "auto":
        precision = fast_precision(options.get("accelerator", "auto"))
    options.setdefault("enable_progress_bar", sys.stderr.isatty())
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
