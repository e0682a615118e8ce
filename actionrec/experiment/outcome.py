"""Summary of a run: a table of metrics, the commands that show more, and the final metrics for the loggers."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from actionrec.experiment.build import logger_settings
from actionrec.reporting.tables import Estimate, Table, lines_of, texts

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from lightning import Trainer

HEADER = ("part", "n", "top-1", "mean class", "loss")


def table(metrics: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Table of part, number of samples, accuracies (with 95 % intervals if there are any) and loss.

    A network with the class background has a line below the table for each part.

    Args:
        metrics: by tag, as `metrics.json` has them.
        counts: number of samples by part.
    """
    rows = [
        (
            part,
            count,
            _estimate(metrics, f"{part}/acc"),
            _estimate(metrics, f"{part}/acc_macro"),
            metrics[f"{part}/loss"],
        )
        for part, count in counts.items()
    ]
    background = [
        _background(metrics, part, count) for part, count in counts.items() if f"{part}/background_n" in metrics
    ]
    return "\n".join([lines_of(texts(Table("", "", HEADER, rows))), *background])


def line(metrics: Mapping[str, Any], part: str) -> str:
    """Accuracies of one part in a line: `test/acc 0.512  test/acc_macro 0.498`."""
    return "  ".join(f"{part}/{name} {metrics[f'{part}/{name}']:.3f}" for name in ("acc", "acc_macro"))


def places(config: DictConfig, run: Path) -> str:
    """The folder of a run, and the commands that show the run in TensorBoard and in the report."""
    data = Path(config.paths.outputs) / config.paths.name
    within = run.absolute().is_relative_to(data.absolute())
    found = {"run": str(run)}
    if any(str(each.get("_target_")).endswith("TensorBoard") for each in logger_settings(config).values()):
        found["TensorBoard"] = f"tensorboard --logdir {shlex.quote(str(data if within else run))}"
    if within and HydraConfig.initialized():
        from actionrec.reporting.missing import Commands

        choice = str(HydraConfig.get().runtime.choices["paths"])
        found["report"] = Commands(choice, config.paths.name, config.paths.outputs).verb("report")
    return "\n".join(f"{what + ':':13}{where}" for what, where in found.items())


def log_to(trainer: "Trainer", config: DictConfig, metrics: Mapping[str, Any]) -> None:
    """Final metrics for each logger, beside the settings: of TensorBoard, in its HPARAMS tab."""
    from lightning.pytorch.loggers import WandbLogger

    from actionrec.callbacks.tensorboard import TensorBoard, hyperparameters

    numbers = {tag: value for tag, value in metrics.items() if isinstance(value, (int, float))}
    settings = hyperparameters(config) | {name: numbers.pop(name) for name in ("parameters", "epochs")}
    numbers["speed/fit_seconds"] = numbers.pop("fit_seconds")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoard):
            logger.log_outcome(settings, numbers, trainer.global_step)
        else:
            logger.log_hyperparams(dict(settings))
            logger.log_metrics(numbers, trainer.global_step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):  # before the run's folder gets its name, and the next job of a multirun
            logger.experiment.finish()


def _background(metrics: Mapping[str, Any], part: str, count: int) -> str:
    taken, lost = (f"{metrics[f'{part}/{name}']:.1%}" for name in ("background_as_action", "action_as_background"))
    return (
        f"{part}: {metrics[f'{part}/background_n']} of the {count} samples are background; {taken} of them are taken "
        f"for an action, and {lost} of the others for background"
    )


def _estimate(metrics: Mapping[str, Any], tag: str) -> Estimate | float:
    low, high = metrics.get(f"{tag}_low"), metrics.get(f"{tag}_high")
    return metrics[tag] if low is None or high is None else Estimate(metrics[tag], low, high)
