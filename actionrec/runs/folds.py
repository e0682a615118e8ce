"""Runs of the other folds of a run: the same training with other clips held out, which a gate is fitted to.

A run with `data.fold=k` lies at `folds/<run>-fold<k>` beside the run, so that no report takes it for one of the stage.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from actionrec.system.errors import ActionRecError

FOLDER = "folds"  # beside the runs of a stage
GATE = "gate.json"  # in the folder of a run with a gate: its candidates
COUNT = 4  # beside fold 0, which is the run's own validation part


def fold_run(run: Path, fold: int) -> Path:
    """The folder of a run's fold 1 to `COUNT`; that of the run itself for fold 0."""
    return run.parent / FOLDER / f"{run.name}-fold{fold}" if fold else run


def all_of(run: Path) -> list[Path]:
    """The folders of all folds of a run, which is fold 0."""
    return [fold_run(run, fold) for fold in range(COUNT + 1)]


def is_gated(config: DictConfig) -> bool:
    """Whether a stage's fusion is fitted to the scores of its parents' folds."""
    return OmegaConf.select(config, "model.fusion") == "gated"


def of_parents(config: DictConfig) -> dict[str, list[Path]]:
    """The runs of all folds of a gated stage's parents, by stream.

    Raises:
        ActionRecError: a stream has no parent.
    """
    named = OmegaConf.select(config, "init_from")
    found: Any = {} if named is None or isinstance(named, str) else OmegaConf.to_container(named, resolve=True)
    if not found or any(not path for path in found.values()):
        raise ActionRecError(
            "model.fusion=gated needs a trained network of each stream; train it as a stage of a chain, or name the "
            "networks by init_from.<stream>=<run>/checkpoints/best.ckpt"
        )
    return {str(name): all_of(Path(str(path)).parents[1]) for name, path in found.items()}


def members(config: DictConfig) -> dict[str, list[Path]]:
    """The checkpoints of the further networks of each stream, of the folds 1 to `model.members` - 1.

    Raises:
        ActionRecError: see `of_parents`.
    """
    count = int(OmegaConf.select(config, "model.members") or 1)
    if count == 1:
        return {}
    return {name: [_best(run) for run in runs[1:count]] for name, runs in of_parents(config).items()}


def checkpoints(config: DictConfig) -> dict[str, Path]:
    """The checkpoints of the folds 1 to `COUNT` of a gated stage's parents, by role; none for other stages."""
    if not is_gated(config):
        return {}
    return {
        f"{name} fold {fold}": _best(run)
        for name, runs in of_parents(config).items()
        for fold, run in enumerate(runs)
        if fold
    }


def _best(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"
