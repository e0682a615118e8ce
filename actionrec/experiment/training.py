"""`actionrec train experiment=<stage>`: train one stage, measure it, and keep it as a run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from actionrec.experiment import gating, measurement, outcome, saved
from actionrec.experiment.build import (
    create_callbacks,
    create_data,
    create_lineage,
    create_loggers,
    create_module,
    data_split,
    stream_names,
)
from actionrec.experiment.compilation import accelerated
from actionrec.experiment.resume import check_resumable, goes_on
from actionrec.runs import folds, manifest
from actionrec.runs.folder import RunFolder, is_first_process, run_folder
from actionrec.runs.manifest import Manifest
from actionrec.settings import checks
from actionrec.settings.composition import in_multirun, plain
from actionrec.settings.untrusted import read_tensors
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256, write_json, write_text
from actionrec.system.locks import only_writer

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from lightning import Callback, LightningDataModule, Trainer

    from actionrec.modules.base import ActionModule

log = logging.getLogger(__name__)


ALL_PARTS = ("val", "test")


def train(config: DictConfig, parts: Sequence[str] = ALL_PARTS, wanted: Manifest | None = None) -> float:
    """Train the stage that the configuration describes; returns the best epoch's `objective`.

    The run folder appears when all is written. A run that is finished with the same settings, lists and parents is not
    trained again; another run in its place is replaced by `overwrite=true` only. With `trainer.fast_dev_run` a few
    batches pass through the stage, and nothing is written.

    Args:
        config: see `conf/train.yaml`.
        parts: those that the best checkpoint is measured on, of those that have samples.
        wanted: the run's manifest, if the caller has made it.
    """
    again = Path(config.run_again) if config.run_again else None
    if again:
        config = saved.for_training(config, again, list(config.trust))
        checks.check(config)
    checks.check_validation(config, in_multirun())
    if config.trainer.get("fast_dev_run"):
        return _try_out(config)
    run = run_folder(config)
    config.run_dir = str(run.path)
    if in_multirun() and config.trainer.get("strategy", "auto") != "auto":
        raise ActionRecError(
            f"trainer.strategy={config.trainer.strategy} starts this command again for every device, which a multirun "
            "cannot share; run its jobs one by one"
        )
    wanted = wanted or manifest.create(config)
    if again and (then := manifest.read(again)):
        wanted = replace(wanted, choices=then.choices)
        for line in wanted.differences(then):
            log.warning("run_again: %s", line)
    # Of a training on several devices the first process writes.
    with only_writer(run.path, "the run") if is_first_process() else nullcontext():
        # A run may be gone on with for more epochs than it was begun with; all else makes another run of it.
        but = ("trainer.max_epochs",) if config.resume is True else ()
        finished = run.is_same(wanted, config.overwrite, but)
        interrupted = run.goes_on(wanted, config.overwrite, but)
        if finished and config.resume in ("auto", False):
            log.info("%s is finished with these settings, skipped", run.path)
            if in_multirun():
                _note_overrides(run.path)
            return run.metrics.get(config.objective, float("nan"))
        recipe = wanted.choices.get("recipe")
        log.info(
            "train %s (%s) → %s",
            config.stage,
            ", ".join([*([f"recipe {recipe}"] if recipe else []), f"split {config.split}", f"seed {config.seed}"]),
            run.path,
        )
        resume = interrupted and goes_on(run) if config.resume == "auto" else config.resume
        return _train(config, run, wanted, resume, parts)


def _train(config: DictConfig, run: RunFolder, wanted: Manifest, resume: bool | str, parts: Sequence[str]) -> float:
    terminal.doing("loading torch and lightning")
    import lightning

    from actionrec.callbacks import BestCheckpoint, Progress
    from actionrec.modules.earlier import renew
    from actionrec.modules.features import keep_features
    from actionrec.modules.parents import check_parent, open_members, open_parents, start_from

    lightning.seed_everything(config.seed, workers=True, verbose=False)
    parents = open_parents(plain(config)["init_from"], stream_names(config), plain(config)["trust"])
    members = open_members(folds.members(config), plain(config)["trust"])
    of_all_clips = {name: str(path) for name, path in folds.refits(config).items()}
    refits = open_parents(of_all_clips, stream_names(config), plain(config)["trust"])
    if not parents:
        _tell_of_no_parents(config, run)
    terminal.doing("reading the data")
    data = create_data(config)
    parts = [part for part in parts if data.names(part)]  # data.fold=all leaves no validation clips
    split = data_split(config)
    for parent in parents.values():
        check_parent(parent, split, data.names("val") + data.names("test"), data.names("train"))
    further = [*chain.from_iterable(members.values()), *refits.values()]
    for parent in further:  # on validation clips, which they know, they do not answer
        check_parent(parent, split, data.names("test"), data.names("train"))
    terminal.doing("making the network")
    module = create_module(config, data, parents)
    for line in start_from(module, parents, members):
        log.info("init_from %s", line)
    module.lineage = create_lineage(config, data, parents, module, further)

    gate = gating.fit(module.network, config) if folds.is_gated(config) else None
    own = deepcopy(module.state_dict()) if refits else None
    for line in start_from(module, refits):
        log.info("refit %s", line)
    if source := run.source(resume):  # before the run that it is of is touched
        check_resumable(source, module, config)
    trainer = create_trainer(config)
    if trainer.is_global_zero:
        run.start(resume)
        write_text(run.partial / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        wanted.write(run.partial)
        if gate:
            write_json(run.partial / folds.GATE, gate)
        if in_multirun():
            _note_overrides(run.partial)
    with _kept_log(run.partial / "log.txt", trainer.is_global_zero):
        with accelerated(module.network, config):
            if config.cache_features:
                terminal.doing("computing the features of frozen streams")
                keep_features(trainer, module, data)
            terminal.doing("training")
            _fit(trainer, module, data, run, run.resume_from(resume))
        if not trainer.is_global_zero:
            return float("nan")
        terminal.doing("loading the best checkpoint")
        progress = Progress.of(trainer)
        best = run.partial / "checkpoints" / "best.ckpt"
        if not BestCheckpoint.of(trainer):
            log.info("without callbacks.best the last epoch's weights are kept, as best.ckpt")
            trainer.save_checkpoint(best, weights_only=True)
        if not best.is_file():
            raise ActionRecError(
                f"the training kept no best checkpoint (trainer.max_epochs={config.trainer.max_epochs}); train at "
                "least one epoch, with callbacks.best"
            )
        kept = read_tensors(best, "checkpoint", "a checkpoint")  # of this run's own, which may name a user's classes
        renew(kept)  # the best epoch may be of a run that an earlier version began
        measuring = measurement.create_trainer(config)
        found = sha256(best)
        protocols = {part: measurement.protocol_of(measuring, data, found, part) for part in parts}
        measured: dict[str, Any] = {}
        for part, protocol in protocols.items():
            # For validation clips, which refit networks know, the networks answer that were not trained on them.
            module.load_state_dict(own if own and part == "val" else kept["state_dict"])
            measured |= measurement.measure(measuring, module, data, run.partial, {part: protocol})
        metrics = {
            **progress.metrics,
            **measured,
            "parameters": sum(parameter.numel() for parameter in module.network.parameters()),
            "fit_seconds": round(progress.seconds, 1),
            "epochs": trainer.current_epoch,
        }
        write_json(run.partial / "metrics.json", metrics)
        outcome.log_to(trainer, config, metrics)
        if in_multirun() or "test" not in parts:  # one of many, whose table comes at their end
            log.info("%s  %s", run.path, outcome.line(metrics, parts[-1]))
        else:
            counts = {part: len(data.names(part)) for part in parts}
            log.info("measured\n\n%s\n\n%s\n", outcome.table(metrics, counts), outcome.places(config, run.path))
    run.finish()
    return metrics.get(config.objective, float("nan"))


def _try_out(config: DictConfig) -> float:
    """Have `trainer.fast_dev_run` batches pass through the stage; returns the `objective` of those of the validation.

    Parents that were not trained yet are left out, so that a whole chain can be tried out before its first run.
    """
    import lightning

    from actionrec.modules.parents import open_parents, start_from

    lightning.seed_everything(config.seed, workers=True, verbose=False)
    if missing := [str(path) for path in manifest.parent_files(config).values() if not path.is_file()]:
        log.info("init_from: %s not trained yet, and left out of this trial", ", ".join(missing))
        config.init_from = None
    parents = open_parents(plain(config)["init_from"], stream_names(config), plain(config)["trust"])
    data = create_data(config)
    module = create_module(config, data, parents)
    start_from(module, parents)
    trainer = create_trainer(config)
    with accelerated(module.network, config):
        trainer.fit(module, data)
    log.info(
        "trainer.fast_dev_run: %d training steps went well, and validation; no run is written", trainer.global_step
    )
    return float(trainer.callback_metrics.get(config.objective, float("nan")))


def create_trainer(config: DictConfig, callbacks: "Sequence[Callback]" = ()) -> "Trainer":
    """The configuration's trainer, with its callbacks and those given.

    With `trainer.fast_dev_run` it has neither loggers nor checkpoints, since some write as soon as they are made, and
    Lightning would leave only its own ones out.
    """
    from hydra.utils import instantiate
    from lightning.pytorch.callbacks import Checkpoint

    from actionrec.callbacks import Progress

    callbacks = [*create_callbacks(config), Progress(), *callbacks]
    tries_out = bool(config.trainer.get("fast_dev_run"))
    if tries_out:
        callbacks = [each for each in callbacks if not isinstance(each, Checkpoint)]
    loggers = [] if tries_out else create_loggers(config)
    return instantiate(config.trainer, callbacks=callbacks, logger=loggers, _convert_="all")


def _tell_of_no_parents(config: DictConfig, run: RunFolder) -> None:
    """Log why a stage starts without parents, where that may not be meant."""
    name, stages = (OmegaConf.select(config, f"chain.{key}") for key in ("name", "stages"))
    if len(stream_names(config)) > 1:
        log.warning("%s: chain=%s names no parents, so the streams start from the backbones' weights", run.path, name)
    elif config.stage not in (stages or {}) and "init_from" not in saved.given_keys():
        log.info(
            "%s is no stage of chain=%s, so it has no parent; init_from=<checkpoint> names one", config.stage, name
        )


def _note_overrides(folder: Path) -> None:
    """Write the overrides of this job of a multirun, from which the multirun's table is made."""
    write_text(folder / "overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))


@contextmanager
def _kept_log(path: Path, wanted: bool) -> Iterator[None]:
    """Append this project's log lines to a file."""
    if not wanted:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    except BaseException as error:
        stopped = {"levelname": "ERROR", "levelno": logging.ERROR, "msg": f"stopped: {error!r}"}
        handler.emit(logging.makeLogRecord(stopped))
        raise
    finally:
        root.removeHandler(handler)
        handler.close()


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
