"""The TensorBoard logger, and the table of its HPARAMS tab."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from actionrec.runs.folder import varying_keys
from actionrec.settings.composition import CONF, in_multirun, plain


def _stream_columns() -> dict[str, type[float] | type[str]]:
    """Columns for the settings of `conf/stream/*.yaml`: null, and a recipe's settings but `focus`, count as numbers.

    Other interpolations, which repeat settings of other groups, are left out.
    """
    found: dict[str, type[float] | type[str]] = {}
    for path in sorted((CONF / "stream").glob("*.yaml")):
        settings: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        for key, value in settings["data"][path.stem].items():
            of_recipe = str(value).startswith("${recipe.")
            if key != "_target_" and (of_recipe or "${" not in str(value)):
                text = key == "focus" if of_recipe else isinstance(value, str)
                found[f"data.{path.stem}.{key}"] = str if text else float
    return found


# Columns of the HPARAMS table, by setting; the type of a column must be the same in all runs.
COLUMNS: dict[str, type[float] | type[str]] = {
    "stage": str,
    "split": float,
    "seed": float,
    "backbone.name": str,
    "backbone.weights": str,
    "backbone.stem": str,
    "optimizer": str,
    "optimizer.lr": float,
    "optimizer.weight_decay": float,
    "scheduler": str,
    "trainer.max_epochs": float,
    "data.batch_size": float,
    "data.size": float,
    "data.augmentation": str,
    "data.position": str,
    **_stream_columns(),
    "flow.name": str,
    "model.fusion": str,
    "model.frozen": str,
    "model.dropout": float,
    "model.label_smoothing": float,
    "parameters": float,
    "epochs": float,
}
# Columns that TensorBoard shows by default; it shows at most the first five in alphabetical order.
SHOWN = ("backbone.name", "optimizer.lr", "seed", "split", "stage")
# Metrics of the HPARAMS table; all other scalars have charts only.
HEADLINES = ("val/acc", "val/acc_macro", "val/loss", "test/acc", "test/acc_macro", "test/loss", "speed/fit_seconds")


class TensorBoard(TensorBoardLogger):
    """Lightning's logger without a chart of the epoch number, and with a table for the HPARAMS tab."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({tag: value for tag, value in metrics.items() if tag != "epoch"}, step)

    def log_outcome(self, settings: Mapping[str, float | str], metrics: Mapping[str, float], step: int) -> None:
        """Write final metrics as scalars, and the run's row of the HPARAMS tab."""
        self.log_metrics(metrics, step)
        named = dict.fromkeys(tag for tag in HEADLINES if tag in metrics)
        # TensorBoard takes the HPARAMS columns from the first run it finds and applies them to all runs.
        known = {name: settings.get(name, kind()) for name, kind in COLUMNS.items()} | dict(settings)
        columns, _, _ = hparams(known, named)
        _, start, end = hparams(dict(settings), named)
        content = columns.value[0].metadata.plugin_data
        table = HParamsPluginData.FromString(content.content)
        for info in table.experiment.hparam_infos:
            info.differs = info.name in (varied() or SHOWN)
        content.content = table.SerializeToString()
        for summary in (columns, start, end):
            self.experiment.file_writer.add_summary(summary, step)


def hyperparameters(config: DictConfig) -> dict[str, float | str]:
    """A run's values of the settings in `COLUMNS`; in a multirun also all other overrides of the job."""
    settings: dict[str, float | str] = {}
    for name in COLUMNS:
        group, _, key = name.rpartition(".")
        section = OmegaConf.select(config, group) if group else config
        if key in (section or {}) and (group != "flow" or _reads_flow(config)):
            value = _cell(plain(section)[key])
            if isinstance(value, str) == (COLUMNS[name] is str):  # a number that is null has no cell
                settings[name] = value
    return overridden() | settings


def _reads_flow(config: DictConfig) -> bool:
    return any(isinstance(node, DictConfig) and "algorithm" in node for node in config.data.values())


def overridden() -> dict[str, str]:
    """Overrides of a multirun's job by key, without `paths`, `sweep` and `experiment`; empty outside a multirun."""
    given = HydraConfig.get().overrides.task if in_multirun() else ()
    pairs = (override.lstrip("+~").partition("=")[::2] for override in given)
    return {name: text for name, text in pairs if name.partition(".")[0] not in ("paths", "sweep", "experiment")}


def varied() -> list[str]:
    """The settings that vary between the jobs of this multirun; empty outside a multirun."""
    return varying_keys(Path(HydraConfig.get().sweep.dir)) if in_multirun() else []


def writer_of(trainer: Trainer) -> SummaryWriter | None:
    """The writer of a trainer's TensorBoard logger; None in processes of rank > 0 and without such a logger."""
    logger = logger_of(trainer)
    return logger.experiment if logger and trainer.is_global_zero else None


def logger_of(trainer: Trainer) -> TensorBoardLogger | None:
    """The TensorBoard logger among a trainer's loggers, or None."""
    return next((each for each in trainer.loggers if isinstance(each, TensorBoardLogger)), None)


def step_of(trainer: Trainer) -> int:
    """The step that the scalars of this epoch are logged at."""
    return max(trainer.global_step - 1, 0)


def _cell(value: Any) -> float | str:
    if isinstance(value, dict):
        value = value.get("_target_", "").rpartition(".")[2]
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return str(value or "none")
