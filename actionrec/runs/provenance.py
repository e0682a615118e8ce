"""Where a run comes from: the command line, the commit, the versions of packages, and the split lists."""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

PACKAGES = (
    *("actionrec", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy", "timm"),
    *("opencv-contrib-python-headless", "opencv-contrib-python", "torchmetrics"),
)


def hash_of_lists(config: DictConfig) -> str:
    """Hex sha256 over the names and bytes of the split lists of the run's data set; empty if it has none.

    The names of background clips, which decide their parts, count as a list.
    """
    from actionrec.datasets.background import WithBackground, with_background
    from actionrec.datasets.base import create as create_data_set

    if not OmegaConf.select(config, "data.dataset._target_"):
        return ""
    data = with_background(create_data_set(config.data.dataset), config.data.get("background"))
    files = data.lists()
    digest = hashlib.sha256()
    if isinstance(data, WithBackground):
        digest.update("\n".join(clip.name for clip in data.background()).encode(errors="surrogateescape"))
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest() if files else ""


def program() -> str:
    """The name that the process was started by: of the script, or of the package after `python -m`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the installed ones of some packages, by name."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of this code, with `+` behind it if tracked files have changed; None outside a git repository."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found, changes = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{found}+" if changes else found
