"""The folder of a run: written under a working name, and complete under its own."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from actionrec.cli import in_multirun
from actionrec.errors import ActionRecError


@dataclass(frozen=True)
class RunFolder:
    """Where a run lives.

    While it trains it is `<path>.partial`; `finish` gives it its name, so that whatever lies under `path` is complete,
    and an interrupted second training leaves the first one's results in place.
    """

    path: Path

    @property
    def partial(self) -> Path:
        """Where the run is written."""
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return (self.path / "metrics.json").is_file() and self.best.is_file()

    @property
    def best(self) -> Path:
        """The finished run's best checkpoint."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The last checkpoint of the run that is being written."""
        return self.partial / "checkpoints" / "last.ckpt"

    def resume_from(self, resume: bool | str) -> Path | None:
        """The checkpoint to go on from, if any.

        Args:
            resume: False starts afresh, True goes on where the interrupted or the finished run ended, a path goes on
                from that checkpoint in a fresh folder.
        """
        if resume is True:
            return self.last
        return Path(str(resume)) if resume else None

    def interrupted(self, settings: str) -> bool:
        """Whether a run of the very same settings, as its `config.yaml` has them, was interrupted after an epoch."""
        config = self.partial / "config.yaml"
        return self.last.is_file() and config.is_file() and config.read_text(encoding="utf-8") == settings

    def start(self, resume: bool | str) -> None:
        """Make the working folder ready; see `resume_from`.

        Raises:
            ActionRecError: there is nothing to go on from.
        """
        self._recover()
        checkpoint = self.resume_from(resume)
        if resume is True and not self.partial.exists() and self.path.exists():
            shutil.copytree(self.path, self.partial)
        if checkpoint and not checkpoint.is_file():
            raise ActionRecError(f"resume: there is no {checkpoint} to go on from; train without resume")
        if resume is not True:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)

    def finish(self) -> None:
        """Give the working folder the run's name, in place of an earlier run there."""
        if self.path.exists():
            self.path.rename(self._replaced)
        self.partial.rename(self.path)
        self._recover()

    @property
    def _replaced(self) -> Path:
        return self.path.with_name(f"{self.path.name}.replaced")

    def _recover(self) -> None:
        """Tidy up after `finish`, also after one that was killed between its steps."""
        if self.path.exists():
            shutil.rmtree(self._replaced, ignore_errors=True)
        elif self._replaced.exists():
            self._replaced.rename(self.path)


def run_folder(config: DictConfig) -> RunFolder:
    """The folder of this run: `run_dir`, or in a multirun one named by the job's overrides."""
    if not in_multirun():
        return RunFolder(Path(config.run_dir))
    hydra = HydraConfig.get()
    return RunFolder(Path(hydra.sweep.dir) / job_name(list(hydra.overrides.task)))


def job_name(overrides: list[str]) -> str:
    """A folder name of a job's overrides, the same whatever their order: `optimizer.lr-1e-3_seed-0`.

    Says neither what the place above it says already (`paths`, `experiment`, `sweep`) nor where files are.
    """
    said = ("experiment=", "sweep=", "sweep.", "paths=", "paths.")
    kept = sorted(override.lstrip("+~") for override in overrides if not override.lstrip("+~").startswith(said))
    name = re.sub(r"[^\w.,+-]+", "-", "_".join(kept)) or "default"
    # File systems take 255 bytes; what is cut off may be all that tells two jobs apart.
    return name if len(name) <= 200 else f"{name[:180]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
