"""`actionrec chain`: train the stages of a chain in order, in one process; finished stages are skipped."""

import gc
import logging
import subprocess
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from actionrec.experiment.plan import by_parents_alone, compared, described, plan, wanted
from actionrec.experiment.stages import composed, key_of, named, overrides_of, told
from actionrec.runs import manifest
from actionrec.runs.folder import RunFolder, run_folder
from actionrec.runs.manifest import Manifest
from actionrec.settings import chain as declared
from actionrec.settings import checks, rules
from actionrec.settings.chain import STILLS, ChainConfig
from actionrec.settings.composition import plain
from actionrec.system.errors import ActionRecError
from actionrec.system.files import write_text
from actionrec.system.hardware import usable_cores
from actionrec.system.locks import only_writer

# Settings that apply to one stage only, to be set in `chain.stages.<stage>.overrides`.
OF_A_STAGE = ("experiment", "stage", "init_from", "parents", "run_dir", "run_again")
log = logging.getLogger(__name__)


def run(config: DictConfig) -> float | None:
    """Train the missing stages of the chain up to a stage, and print a line for each; see `conf/chain.yaml`.

    A finished run with the wanted settings is skipped. One whose parents alone have been trained anew is trained anew
    as well; one of other settings is refused before anything is trained, unless `overwrite=true`. Of two processes
    that need the same stage, the second waits for the first. With `trainer.fast_dev_run` every stage is tried out,
    and only the stages' input is written.

    Returns:
        The validation accuracy of the last stage; None where nothing is trained, or no clips are for validation.

    Raises:
        ActionRecError: a stage fails; the message names the stage, and the stages before it stay.
    """
    chain = declared.of(config)
    _check(config, chain)
    names = wanted(chain, config.upto, config.fuse)
    parts = list(plan(chain, names, config))
    for part in parts:
        if part.refused and not config.dry_run:
            raise ActionRecError(f"{part.name}: {manifest.refusal(part.folder, part.found.differences)}")
    width = max(len(part.name) for part in parts)
    if config.dry_run:
        for part in parts:
            print(f"{part.name:{width}}  {described(part)}")
        return None
    prepared: set[tuple[Path, str]] = set()
    if config.trainer.get("fast_dev_run"):
        for part in parts:
            with named(part.name), told(part.whole) as stage:
                prepare(stage, prepared)
                _start(stage)
            gc.collect()
        return None
    folder = Path(config.paths.outputs) / config.paths.name
    write_text(folder / declared.NOTE, OmegaConf.to_yaml(config.chain, resolve=True))
    for part in parts:
        with named(part.name), told(part.whole) as stage:
            state = _train(stage, prepared)
            metrics = RunFolder(part.folder).metrics
        gc.collect()  # trainer and module form a reference cycle; collect it now to free the finished stage's memory
        print(f"{part.name:{width}}  {state:11}  test/acc {metrics['test/acc']:.3f}  {part.folder}", flush=True)
    if config.fuse:
        for name in names:
            if name in chain.stages and len(chain.stages[name].parents) > 1:
                _fuse(chain, name, config)
    return RunFolder(parts[-1].folder).metrics.get("val/acc")


def prepare(config: DictConfig, prepared: set[tuple[Path, str]]) -> None:
    """Make the derived input of a stage, which is the flow of its clips so far, unless the store holds it.

    Args:
        config: of the stage.
        prepared: stores, and the clips that this process has completed them for, which are not looked through again;
            is added to.
    """
    from actionrec.experiment.extraction import clips_of, conclude, flow_read
    from actionrec.flow.estimators import ESTIMATORS, is_own
    from actionrec.flow.extract import extract

    read = flow_read(config)
    if not read:
        return
    settings, store = read
    known = settings.algorithm in ESTIMATORS or is_own(settings.algorithm)
    needed = store, f"{plain(config)['dataset']} {plain(config)['data']['actions']} {config.data.get('background')}"
    if not known or needed in prepared:  # imported flow is there
        return
    with only_writer(store, "flow store", wait=True):
        conclude(extract(clips_of(config), store, settings, usable_cores()), store)
    prepared.add(needed)


def _train(config: DictConfig, prepared: set[tuple[Path, str]]) -> str:
    """Train a stage unless it is finished; says which. Other processes that want the same stage wait."""
    folder = run_folder(config)
    with only_writer(folder.path, "the run", wait=True):
        now = manifest.create(config)
        if compared(folder, now, config.resume is True).done:
            return "done before"
        if by_parents_alone(folder, now):
            log.info("%s: the parents' checkpoints have changed since this run, so it is trained again", folder.path)
            config.overwrite = True
        prepare(config, prepared)
        if _is_one_process(config):
            _start(config, now)
            return "trained"
    _start(config)  # after the lock, which is the other process's
    return "trained"


def _start(config: DictConfig, wanted: Manifest | None = None) -> None:
    """Train a stage, in this process where it takes one device; `wanted` is its manifest if that is made already.

    Several devices are several processes, each of which runs the command line again: that of this stage alone.
    """
    from actionrec.experiment.training import train

    if _is_one_process(config):
        train(config, wanted=wanted)
        return
    overrides = [*HydraConfig.get().overrides.task, f"overwrite={config.overwrite}"]
    _in_process_of_its_own([sys.executable, "-m", "actionrec", "train", *overrides])


def _is_one_process(config: DictConfig) -> bool:
    return config.trainer.get("strategy", "auto") == "auto" and config.trainer.get("devices", 1) in (1, "1")


def _in_process_of_its_own(command: list[str]) -> None:
    process = subprocess.Popen(command)
    try:
        status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status:
        raise ActionRecError(f"the training process ended with status {status}; see its message above")


def _fuse(chain: ChainConfig, name: str, config: DictConfig) -> None:
    """Compare the fusions of a stage's parents; missing training scores of the parents are measured first."""
    from actionrec.evaluation.scores import FILES
    from actionrec.experiment.evaluation import remeasure
    from actionrec.experiment.score_fusion import fuse

    for parent in chain.stages[name].parents.values():
        with named(parent), composed("evaluate", [*overrides_of(chain, parent, config), "parts=[train]"]) as settings:
            if not (Path(settings.run_dir) / FILES["train"]).is_file():
                remeasure(settings)
        gc.collect()
    with named(f"fusions of {name}"), composed("fuse", overrides_of(chain, name, config)) as settings:
        print()
        fuse(settings)


def _check(config: DictConfig, chain: ChainConfig) -> None:
    for key in ("dry_run", "fuse", "report"):
        checks.require(key, config[key], rules.flag)
    for key in (STILLS, declared.CLIPS):
        if not OmegaConf.is_list(config[key]) or not all(isinstance(each, str) for each in config[key]):
            raise ActionRecError(f"{key}={config[key]}: use a list of texts, or --{key} <overrides>")
    if isinstance(config.resume, str) and config.resume != "auto":
        raise ActionRecError(f"resume={config.resume} is of one stage; resume it with actionrec train")
    for key in map(key_of, HydraConfig.get().overrides.task):
        if key.partition(".")[0] in OF_A_STAGE:
            stage = chain.last.name
            raise ActionRecError(
                f"{key} applies to one stage; set it for one: \"chain.stages.{stage}.overrides=['{key}=…']\""
            )
