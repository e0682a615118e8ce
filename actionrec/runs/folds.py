"""Runs of the other folds of a run: the same training with other clips held out, which a gate is fitted to.

A run with `data.fold=k` lies at `folds/<run>-fold<k>` beside the run, so that no report takes it for one of the stage;
likewise at `folds/<run>-all` a run with `data.fold=all`, which is trained on the validation clips, too.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from actionrec.system.errors import ActionRecError

FOLDER = "folds"  # beside the runs of a stage
GATE = "gate.json"  # in the folder of a run with a gate: its candidates
COUNT = 4  # beside fold 0, which is the run's own validation part
ALL = "all"  # in place of a fold: no clips are held out


def fold_run(run: Path, fold: int | str) -> Path:
    """The folder of a run's fold 1 to `COUNT`, or of `ALL` clips; that of the run itself for fold 0."""
    return run.parent / FOLDER / f"{run.name}-{ALL if fold == ALL else f'fold{fold}'}" if fold else run


def all_of(run: Path) -> list[Path]:
    """The folders of all folds of a run, which is fold 0."""
    return [fold_run(run, fold) for fold in range(COUNT + 1)]


def is_gated(config: DictConfig) -> bool:
    """Whether a stage's fusion is fitted to the scores of its parents' folds."""
    return OmegaConf.select(config, "model.fusion") == "gated"


def is_refit(config: DictConfig) -> bool:
    """Whether the networks of a gated stage are its parents' runs on `ALL` clips."""
    return bool(OmegaConf.select(config, "refit"))


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


def refits(config: DictConfig) -> dict[str, Path]:
    """The checkpoints of each stream's network on `ALL` clips, for a stage with `refit`.

    Raises:
        ActionRecError: see `of_parents`.
    """
    found = of_parents(config) if is_refit(config) else {}
    return {name: _best(fold_run(runs[0], ALL)) for name, runs in found.items()}


def checkpoints(config: DictConfig) -> dict[str, Path]:
    """The checkpoints beside its parents' that a gated stage depends on, by role; none for other stages."""
    if not is_gated(config):
        return {}
    others = {
        f"{name} fold {fold}": _best(run)
        for name, runs in of_parents(config).items()
        for fold, run in enumerate(runs)
        if fold
    }
    return others | {f"{name} {ALL}": path for name, path in refits(config).items()}


def _best(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"
