"""The folder of a run: `<name>.partial` during the training, renamed to `<name>` when the run is complete."""

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from actionrec.runs import manifest
from actionrec.runs.folds import GATE
from actionrec.runs.manifest import Manifest
from actionrec.settings.composition import in_multirun
from actionrec.settings.untrusted import read_json, read_metrics
from actionrec.system.errors import ActionRecError
from actionrec.system.files import PARTIAL, REPLACED, replaced_folder

# Files and folders that this package writes into a run's folder; all others are the user's, and survive a replacement.
OURS = (
    *("checkpoints", "tensorboard", "measurements", "config.yaml", "overrides.yaml", "manifest.json", "log.txt"),
    *("csv", "wandb", "profile", "metrics.json", "measurement.json", GATE, "localisation.json"),
    *("scores.npz", "scores_val.npz", "scores_train.npz"),
)
_MEASURED = (
    "measurements",
    "measurement.json",
    "metrics.json",
    "localisation.json",
    "scores*.npz",
)  # not copied for a resumed training
MULTIRUN = "multirun.json"  # file in a multirun's folder with the keys that vary


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run.

    During the training the folder is `<path>.partial`; `finish` renames the folder to `path`. So a folder at `path` is
    always complete, and an interrupted second training leaves the results of the first one in place.
    """

    path: Path

    @property
    def partial(self) -> Path:
        """Folder of the run during the training."""
        return self.path.with_name(f"{self.path.name}{PARTIAL}")

    @property
    def finished(self) -> bool:
        """Whether `path` holds a complete run, of any settings."""
        return (self.path / "metrics.json").is_file() and self.best.is_file()

    @property
    def best(self) -> Path:
        """The finished run's best checkpoint."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The last checkpoint of the interrupted or running training."""
        return self.partial / "checkpoints" / "last.ckpt"

    @property
    def metrics(self) -> dict[str, Any]:
        """The finished run's `metrics.json`.

        Raises:
            ActionRecError: the file is damaged.
        """
        path = self.path / "metrics.json"
        content = read_metrics(path)
        if not any(type(content.get(f"{part}/acc")) in (int, float) for part in ("val", "test")):
            raise ActionRecError(f"{path} has neither val/acc nor test/acc; measure the run with actionrec evaluate")
        return content

    def is_same(self, wanted: Manifest, overwrite: bool, but: Sequence[str] = ()) -> bool:
        """Whether the run at `path` is finished and has the wanted manifest.

        Args:
            wanted: manifest of the wanted run.
            overwrite: whether a run of other settings may be replaced.
            but: keys of settings to leave out of the comparison.

        Raises:
            ActionRecError: `path` holds a run of other settings without `overwrite`, or no run at all.
        """
        self.check()
        if not self.path.exists() or not any(self.path.iterdir()):
            return False
        there = manifest.read(self.path) if not overwrite else _readable_manifest(self.path)
        differences = wanted.differences(there, but) if there else ["its settings are not known"]
        if differences and not overwrite:
            raise manifest.refusal(self.path, differences)
        return self.finished and not differences

    def goes_on(self, wanted: Manifest, overwrite: bool, but: Sequence[str] = ()) -> bool:
        """Whether the wanted run was interrupted after at least one epoch and can be resumed; see `is_same`.

        Raises:
            ActionRecError: `partial` holds an interrupted run of other settings, without `overwrite`.
        """
        if not self.last.is_file():
            return False
        there = _readable_manifest(self.partial)
        differences = wanted.differences(there, but) if there else ["its settings are not known"]
        if differences and not overwrite:
            raise manifest.refusal(self.partial, differences, "holds an interrupted run")
        return not differences

    def check(self) -> None:
        """Raise if a file, or a folder that is no run, has one of the run's three names."""
        if not self.path.name or self.path.name.startswith("."):
            raise ActionRecError(f"run_dir={self.path}: not the name of a folder; choose another name")
        for path in (self.path, self.partial, self._replaced):
            if path.exists() and not _is_run(path):
                kind = "a folder that is no run" if path.is_dir() else "a file"
                raise ActionRecError(f"run_dir={self.path}: {path} is {kind}; name another folder, or move it away")

    def resume_from(self, resume: bool | str) -> Path | None:
        """The checkpoint to resume from, or None.

        Args:
            resume: False starts from the beginning, True resumes the interrupted or the finished run, and a path
                resumes from that checkpoint in a new folder.
        """
        if resume is True:
            return self.last
        return Path(str(resume)) if resume else None

    def source(self, resume: bool | str) -> Path | None:
        """The checkpoint of `resume_from` at its path before `start`, to be checked before any file is changed.

        Raises:
            ActionRecError: there is no checkpoint to resume from.
        """
        self.check()
        checkpoint = self.resume_from(resume)
        if resume is True and not self.partial.exists():
            there = self.path if self.path.exists() else self._replaced
            checkpoint = there / "checkpoints" / "last.ckpt" if there.exists() else checkpoint
        if checkpoint and not checkpoint.is_file():
            raise ActionRecError(f"resume: there is no {checkpoint}; train without resume")
        if checkpoint and resume is not True and checkpoint.resolve().is_relative_to(self.partial.resolve()):
            raise ActionRecError(f"resume={checkpoint} is of the interrupted run itself; resume it with resume=true")
        return checkpoint

    def start(self, resume: bool | str) -> None:
        """Prepare the folder `partial`; see `resume_from`.

        Raises:
            ActionRecError: there is no checkpoint to resume from, or one of the run's names is taken by no run.
        """
        self.source(resume)
        self._recover()
        if resume is True and not self.partial.exists() and self.path.exists():
            with replaced_folder(self.partial) as temporary:
                shutil.copytree(self.path, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_MEASURED))
        if resume is not True:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)

    def finish(self) -> None:
        """Rename `partial` to `path`; an earlier run there is replaced, but the user's files in its folder are kept."""
        if self.path.exists():
            self.path.rename(self._replaced)
        self.partial.rename(self.path)
        self._recover()

    @property
    def _replaced(self) -> Path:
        return self.path.with_name(f"{self.path.name}{REPLACED}")

    def _recover(self) -> None:
        """Complete the renaming of `finish`, also of a `finish` that was killed between its two renames."""
        if self.path.exists():
            for entry in self._replaced.iterdir() if self._replaced.is_dir() else ():
                if entry.name not in OURS and not (self.path / entry.name).exists():
                    entry.rename(self.path / entry.name)
            shutil.rmtree(self._replaced, ignore_errors=True)
        elif self._replaced.exists():
            self._replaced.rename(self.path)


def run_folder(config: DictConfig) -> RunFolder:
    """The folder of this run: `run_dir`, or in a multirun a folder named after the job's values of the varying keys.

    A symbolic link is followed, so that the run is replaced and not the link.
    """
    if not str(config.run_dir):
        raise ActionRecError("run_dir is empty; name the folder of the run")
    if not in_multirun():
        return RunFolder(Path(config.run_dir).resolve() if Path(config.run_dir).is_symlink() else Path(config.run_dir))
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    return RunFolder(folder / job_name(list(hydra.overrides.task), varying_keys(folder), config.get("tag")))


def varying_keys(folder: Path) -> list[str]:
    """The keys that the multirun in a folder varies, from the file that `studies.Study` writes at its start."""
    return [str(key) for key in read_json(folder / MULTIRUN).get("varying", ())]


def job_name(overrides: list[str], varying: list[str], tag: str | None = None) -> str:
    """Folder name of a multirun's job, from the varying overrides in sorted order: `optimizer.lr-1e-3_seed-0`."""
    pairs = [override.lstrip("+~") for override in overrides]
    kept = sorted(pair for pair in dict.fromkeys(pairs) if pair.partition("=")[0].partition("@")[0] in varying)
    name = re.sub(r"[^\w.,+-]+", "-", "_".join(kept)) or "default"
    # File systems allow 255 bytes. The hash distinguishes jobs whose names differ only in the part that is cut off.
    name = name if len(name) <= 200 else f"{name[:180]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"{name}-{tag}" if tag else name


def is_first_process() -> bool:
    """Whether this process has rank 0, by the environment variables of Lightning, torchrun and SLURM."""
    ranks = ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") in ("0", "") for name in ranks)


def _is_run(path: Path) -> bool:
    """Whether a folder is empty, or holds a finished or interrupted run, by its manifest or configuration."""
    if not path.is_dir() or path.is_symlink():
        return False
    if all(entry.name.startswith(".") for entry in path.iterdir()):  # empty, or temporary files of a killed process
        return True
    kept = [_readable_manifest(path)]
    with suppress(ActionRecError):
        kept.append(manifest.of_before(path))
    return any(each is not None and "stage" in each.settings for each in kept)


def _readable_manifest(folder: Path) -> Manifest | None:
    try:
        return manifest.read(folder)
    except ActionRecError:
        return None
