"""Trainers for whatever hardware there is."""

import sys
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from actionrec.errors import ActionRecError


def create_trainer(precision: str = "auto", **options: Any) -> lightning.Trainer:
    """A Lightning Trainer.

    Args:
        precision: Lightning's, or `auto`: bf16 where the device does it fast, else float32.
        options: of `lightning.Trainer`. The progress bar shows on terminals only, unless they say otherwise.

    Raises:
        ActionRecError: the machine has no such device.
    """
    if precision == "auto":
        precision = fast_precision(options.get("accelerator", "auto"))
    options.setdefault("enable_progress_bar", sys.stderr.isatty())
    try:
        return lightning.Trainer(precision=precision, **options)  # type: ignore[arg-type]
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise ActionRecError(f"trainer.accelerator={options.get('accelerator')}: {reason}; use trainer=auto") from None


def fast_precision(accelerator: str) -> str:
    """`bf16-mixed` where the device has instructions for it, else `32-true`."""
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto") and not torch.backends.mps.is_available():
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"
