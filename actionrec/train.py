"""`python -m actionrec.train experiment=<stage>`: train one stage, measure it, and keep it as a run."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from actionrec.cli import in_multirun, plain, verb
from actionrec.errors import ActionRecError
from actionrec.files import write_text
from actionrec.runs import RunFolder, run_folder

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from lightning import Callback, LightningDataModule, Trainer
    from torch import nn

    from actionrec.datamodules.base import ActionDataModule
    from actionrec.modules.base import ActionModule
    from actionrec.modules.checkpoint import Parent

log = logging.getLogger("actionrec.train")  # __name__ is __main__ here


def train(config: DictConfig, parts: Sequence[str] = ("val", "test")) -> float:
    """Train the stage that the configuration describes; returns the best validation accuracy.

    The run folder appears when all is written. In a multirun a finished run is not trained again.

    Args:
        config: see `conf/train.yaml`.
        parts: what the best checkpoint is measured on.
    """
    import lightning

    from actionrec.callbacks import Progress
    from actionrec.modules.checkpoint import check_parent, open_parents, read, start_from
    from actionrec.modules.features import keep_features

    run = run_folder(config)
    if in_multirun() and run.finished:
        log.info("%s is finished, skipped", run.path)
        return json.loads((run.path / "metrics.json").read_text())["val/acc"]
    config.run_dir = str(run.path)

    if in_multirun() and config.trainer.get("strategy", "auto") != "auto":
        raise ActionRecError(
            f"trainer.strategy={config.trainer.strategy} starts this command again for every device, which a multirun "
            "cannot share; run its jobs one by one"
        )
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    parents = open_parents(plain(config)["init_from"], _model_name(config))
    data = create_data(config)
    split = data_split(config)
    for parent in parents.values():
        check_parent(parent, split, data.names("val") + data.names("test"))
    module = create_module(config, data, parents)
    for line in start_from(module.network, data.actions, parents):
        log.info("init_from %s", line)
    module.lineage = create_lineage(config, data, parents)

    settings = OmegaConf.to_yaml(config, resolve=True)
    resume = _goes_on(run, settings) if config.resume == "auto" else config.resume
    trainer = create_trainer(config)
    if trainer.is_global_zero:
        run.start(resume)
        write_text(run.partial / "config.yaml", settings)
        if in_multirun():
            write_text(run.partial / "overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))
    with _compiled(module.network, config):
        if config.cache_features:
            keep_features(trainer, module, data)
        _fit(trainer, module, data, run, run.resume_from(resume))
    if not trainer.is_global_zero:
        return float("nan")
    progress = Progress.of(trainer)
    module.load_state_dict(read(run.partial / "checkpoints" / "best.ckpt")["state_dict"])
    measured = measure(config, module, data, run.partial, parts)
    metrics = {
        **progress.metrics,
        **measured,
        "parameters": sum(parameter.numel() for parameter in module.network.parameters()),
        "fit_seconds": round(progress.seconds, 1),
        "epochs": trainer.current_epoch,
    }
    write_text(run.partial / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    _log_outcome(config, trainer, metrics)
    run.finish()
    tag = f"{parts[-1]}/acc"
    log.info("%s  %s %.3f  %s_macro %.3f", run.path, tag, metrics[tag], tag, metrics[f"{tag}_macro"])
    return metrics["val/acc"]


def create_data(config: DictConfig) -> "ActionDataModule":
    """The stage's data module, set up."""
    from hydra.utils import instantiate

    data = instantiate(config.data, _convert_="all")
    data.setup()
    return data


def create_module(config: DictConfig, data: "ActionDataModule", parents: Iterable[str]) -> "ActionModule":
    """The stage's module for that data; streams with a parent get random weights, since the parent's replace them.

    Args:
        config: of the run.
        data: the stage's data module, set up.
        parents: roles that have a parent, see `modules.checkpoint.open_parents`.
    """
    from hydra.utils import instantiate

    model = plain(config.model)
    for role in parents:
        model["backbone" if role == "parent" else f"{role}_backbone"]["weights"] = None
    return instantiate(model, actions=list(data.actions), inputs=data.inputs, _recursive_=False, _convert_="all")


def create_lineage(config: DictConfig, data: "ActionDataModule", parents: "dict[str, Parent]") -> dict[str, Any]:
    """What this stage's checkpoints say of their origin."""
    from actionrec.modules.checkpoint import Lineage, versions

    model = plain(config.model)
    trained_on = set(data.names("train")).union(*(parent.lineage["trained_on"] for parent in parents.values()))
    return Lineage(
        model=_model_name(config),
        stage=config.stage,
        data=config.paths.name,
        split=data_split(config),
        seed=config.seed,
        actions=list(data.actions),
        backbone=model.get("backbone") or {key: model[f"{key}_backbone"] for key in ("frame", "flow")},
        inputs=data.inputs,
        trained_on=sorted(trained_on),
        parents={role: parent.record() for role, parent in parents.items()},
        versions=versions(),
    ).plain()


def data_split(config: DictConfig) -> int | None:
    """The HMDB51 split of this stage; None for stills."""
    return config.data.get("split")


def measure(
    config: DictConfig,
    module: "ActionModule",
    data: "ActionDataModule",
    folder: Path,
    parts: Sequence[str],
) -> dict[str, Any]:
    """Metrics of a module on parts of its data, with intervals and tables for the test; the scores go to `folder`.

    On one device, since several would pad the last batch with samples that are then counted twice.
    """
    from hydra.utils import instantiate

    from actionrec.evaluation import metrics, scores

    options = {
        "devices": 1,
        "strategy": "auto",
        "sync_batchnorm": False,
        "logger": False,
        "enable_checkpointing": False,
        "default_root_dir": os.devnull,  # under SLURM Lightning loads an hpc_ckpt that it finds there over the weights
    }
    trainer = instantiate(config.trainer, **options)
    measured: dict[str, Any] = {}
    for part in parts:
        trainer.test(module, dataloaders=data.scoring_dataloader(part), verbose=False)
        found = scores.average_views(*module.tested(), module.actions, data.groups())
        scores.save(found, folder / scores.FILES[part])
        if part != "train":  # what it was fitted to; train/ is what the last epoch saw
            measured |= metrics.measure(found, part)
        if part == "test":
            measured |= metrics.intervals(found, part) | metrics.tables(found, part)
    return measured


def _model_name(config: DictConfig) -> str:
    return str(config.model._target_).rpartition(".")[2]


def create_trainer(config: DictConfig, callbacks: "Sequence[Callback]" = ()) -> "Trainer":
    """The configuration's trainer, with its callbacks and those given."""
    from hydra.utils import instantiate

    callbacks = [*(instantiate(callback) for callback in config.callbacks.values()), *callbacks]
    return instantiate(config.trainer, callbacks=callbacks, logger=instantiate(config.logger), _convert_="all")


def _goes_on(run: RunFolder, settings: str) -> bool:
    """Whether an interrupted run of these settings left a checkpoint that loads."""
    from actionrec.modules.checkpoint import read

    if not run.interrupted(settings):
        return False
    try:
        read(run.last)
    except ActionRecError:  # it was interrupted while it wrote it
        return False
    log.info("goes on with %s", run.partial)
    return True


@contextmanager
def _compiled(network: "nn.Module", config: DictConfig) -> Iterator[None]:
    """Have torch compile the backbones, in place, which leaves their parameters their names.

    Not the normalisation before them: on the CPU compiled code reads the loaders' uint8 batches past their end, which
    may be the end of the memory that they share (torch 2.14).
    """
    if not config.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    from actionrec.networks.backbone import Backbone

    options = plain(config)["compile"]
    try:
        for backbone in (module for module in network.modules() if isinstance(module, Backbone)):
            backbone.compile(**(options if isinstance(options, dict) else {}))
    except (RuntimeError, TypeError) as error:
        raise ActionRecError(f"compile={options}: {error}; see torch.compile") from None
    try:
        yield
    except TorchDynamoException as error:  # among others where there is no C++ compiler
        reason = next(line for line in str(error).splitlines() if line)
        raise ActionRecError(f"compile={options}: {reason}; set compile=false") from None


def _fit(
    trainer: "Trainer", module: "ActionModule", data: "LightningDataModule", run: RunFolder, resume_from: Path | None
) -> None:
    if any(parameter.requires_grad for parameter in module.parameters()):
        trainer.fit(module, data, ckpt_path=str(resume_from) if resume_from else None, weights_only=True)
        return
    log.info("nothing to learn: the streams are frozen and the fusion has no weights; kept as it is")
    trainer.strategy.connect(module)
    for name in ("best", "last"):
        trainer.save_checkpoint(run.partial / "checkpoints" / f"{name}.ckpt", weights_only=True)


def _log_outcome(config: DictConfig, trainer: "Trainer", metrics: dict[str, Any]) -> None:
    """Final metrics for TensorBoard, as scalars and, beside the settings, in its HPARAMS tab."""
    from actionrec.tensorboard import TensorBoard, hyperparameters

    if not trainer.logger:
        return
    numbers = {tag: value for tag, value in metrics.items() if isinstance(value, (int, float))}
    settings = hyperparameters(config) | {name: numbers.pop(name) for name in ("parameters", "epochs")}
    numbers["speed/fit_seconds"] = numbers.pop("fit_seconds")
    if isinstance(trainer.logger, TensorBoard):
        trainer.logger.log_outcome(settings, numbers, trainer.global_step)
    else:
        trainer.logger.log_metrics(numbers, trainer.global_step)
    trainer.logger.finalize("success")


main = verb("train", choose="experiment")(train)

if __name__ == "__main__":
    main()
