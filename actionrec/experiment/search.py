"""`actionrec search experiment=<stage>`: hyper-parameter search for one stage with Optuna, selected on validation."""

import copy
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from actionrec.experiment.evaluation import remeasure
from actionrec.experiment.training import train
from actionrec.runs import manifest
from actionrec.runs.folder import RunFolder
from actionrec.runs.manifest import Manifest
from actionrec.settings import checks
from actionrec.settings.composition import in_multirun, plain
from actionrec.settings.rules import direction
from actionrec.system.errors import ActionRecError, DivergedError
from actionrec.system.files import atomic_path, write_json, write_text
from actionrec.system.locks import only_writer

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

OBJECTIVE = "objective"  # attribute of Optuna's study with the name of the metric
ENOUGH = 5  # least number of trials per setting for importances; with fewer, importances are noise
NO_MULTIRUN = (
    "a search cannot be a multirun, because all jobs would share its folder; run one search after the other, each with "
    "search.name=<name>"
)
log = logging.getLogger(__name__)


def search(config: DictConfig) -> None:
    """Train the stage with settings that Optuna suggests (TPE: Bergstra et al., NeurIPS 2011); print the trials' table.

    Each trial is a run below `run_dir`. Only the trial that is best on validation is measured on the test part.
    `study.db` in `run_dir` is Optuna's storage. An interrupted search can be resumed: the same command repeats the
    interrupted trial and continues. A trial with a loss that is not finite gets Optuna's state PRUNED, counts towards
    the number of trials, and has no row and no folder. A lock admits one process at a time.

    Raises:
        ActionRecError: Optuna is not installed, the space names an unknown setting, the folder holds another search, or
            all trials diverged.
    """
    if in_multirun():  # set by hydra.mode; the command line's `main` has refused the flags -m and --multirun before
        raise ActionRecError(NO_MULTIRUN)
    checks.check_validation(config, ranked=True)
    optuna = _import_optuna()
    settings = plain(config)["search"]
    for setting in settings["space"]:
        _check(setting, config)
    monitor = OmegaConf.select(config, "callbacks.best.monitor")
    if monitor and monitor != config.objective:
        raise ActionRecError(
            f"callbacks.best.monitor={monitor}: the search ranks trials by objective={config.objective}; set objective "
            "alone"
        )
    with only_writer(Path(config.run_dir), "the search in"):
        _search(config, settings, optuna)


def _search(config: DictConfig, settings: dict[str, Any], optuna: Any) -> None:
    folder = Path(config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    study = _open(optuna, settings["name"], folder / "study.db", config.objective)
    space = {setting["key"]: _distribution(optuna, setting) for setting in settings["space"]}
    _check_same(folder, config, study, space)
    _enqueue_interrupted(study, folder)
    states = optuna.trial.TrialState
    done = len(study.get_trials(states=(states.COMPLETE, states.PRUNED)))
    # With the same seed a resumed search would suggest the settings of the trials before the interruption again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + done)
    for _ in range(settings["trials"] - done):
        trial = study.ask(space)
        try:
            value = _run(config, folder, trial)
        except DivergedError as error:
            log.warning("trial %d diverged and is left out: %s", trial.number, error)
            shutil.rmtree(RunFolder(_folder(folder, trial.number)).partial, ignore_errors=True)
            study.tell(trial, state=states.PRUNED)
        else:
            study.tell(trial, value)
    print(_write(folder, config, study))


def _distribution(optuna: Any, setting: dict[str, Any]) -> "BaseDistribution":
    """Optuna's distribution for an entry of the space; a range is of integers if both of its bounds are integers."""
    if "values" in setting:
        return optuna.distributions.CategoricalDistribution(setting["values"])
    low, high, log_scale = setting["low"], setting["high"], setting.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=log_scale)
    return optuna.distributions.FloatDistribution(low, high, log=log_scale)


def _check_same(
    folder: Path, config: DictConfig, study: "optuna.Study", space: Mapping[str, "BaseDistribution"]
) -> None:
    """Raise if the study's trials have another space, or differ from the wanted search in settings outside the space.

    The order of the keys and the number of trials may differ.
    """
    wanted = manifest.create(config)
    wanted = replace(wanted, settings={key: value for key, value in wanted.settings.items() if key not in space})
    if study.trials:
        differences = _other_spaces(study, space) or _other_settings(folder, config, study, wanted)
        if differences:
            raise ActionRecError(
                f"{folder} holds another search ({manifest.listed(differences)}); keep both with search.name=<name>"
            )
    wanted.write(folder)


def _other_spaces(study: "optuna.Study", space: Mapping[str, "BaseDistribution"]) -> list[str]:
    """Differences between the space and the space of the trials, a text for each key."""
    there = {key: each for trial in study.trials for key, each in trial.distributions.items()}
    added = space.keys() - there.keys() if there else ()
    changed = (key for key, each in there.items() if space.get(key) != each)
    return [
        f"search.space: {key} {_range(space.get(key))}, was {_range(there.get(key))}"
        for key in sorted({*added, *changed})
    ]


def _range(distribution: Any) -> str:
    if distribution is None:
        return "not in it"
    if hasattr(distribution, "choices"):
        text = "values " + ", ".join(map(str, distribution.choices))
    else:
        text = f"{distribution.low} to {distribution.high}{' log' if distribution.log else ''}"
    return text if len(text) <= 60 else f"{text[:57]}…"


def _other_settings(folder: Path, config: DictConfig, study: "optuna.Study", wanted: Manifest) -> list[str]:
    """Differences between the settings outside the space and those of the trials."""
    try:
        if there := manifest.read(folder):
            return wanted.differences(there)
        for trial in study.trials:  # a search of an earlier version has no manifest; take the first run's
            run = _folder(folder, trial.number)
            if (run / manifest.FILE).is_file() and (there := manifest.read(run)):
                return manifest.create(_with(config, trial.params, run)).differences(there)
    except ActionRecError as error:
        raise ActionRecError(
            f"{folder}: the settings of its search cannot be read ({error}); move the folder away, or use another name "
            "(search.name=<name>)"
        ) from None
    return []


def _open(optuna: Any, name: str, path: Path, objective: str) -> "optuna.Study":
    try:
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{path}",
            direction=f"{direction(objective)}imize",
            load_if_exists=True,
        )
        # Searches of earlier versions have no such attribute, and all have val/acc as their objective.
        there = study.user_attrs.get(OBJECTIVE, "val/acc" if study.trials else objective)
        study.set_user_attr(OBJECTIVE, there)
    except Exception as error:  # SQLAlchemy raises many types for a file that is no database
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ActionRecError(f"{path}: not the storage of a search ({reason:.120}); move the file away") from None
    if there != objective:
        raise ActionRecError(
            f"{path.parent} holds another search (objective: {objective}, was {there}); keep both with "
            "search.name=<name>"
        )
    return study


def _enqueue_interrupted(study: "optuna.Study", folder: Path) -> None:
    """Enqueue the settings of interrupted trials again, unless a later trial has repeated them."""
    again = {trial.user_attrs.get("again") for trial in study.trials}
    for trial in study.trials:
        if trial.state.name == "RUNNING":  # its process was killed
            study.tell(trial.number, state=type(trial.state).FAIL)
        if trial.state.name in ("RUNNING", "FAIL") and trial.number not in again:
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
            shutil.rmtree(RunFolder(_folder(folder, trial.number)).partial, ignore_errors=True)


def _check(setting: dict[str, Any], config: DictConfig) -> None:
    """Raise unless an entry of the space names a setting, and has either `values` or `low` and `high`."""
    key = setting.get("key", "")
    if not key or OmegaConf.select(config, key, default=config) is config:
        raise ActionRecError(f"search.space names {key!r}, which is no setting of experiment={config.stage}")
    if set(setting) != {"key", "values"} and not {"key", "low", "high"} <= set(setting) <= {
        "key",
        "low",
        "high",
        "log",
    }:
        raise ActionRecError(f"search.space: {key} needs either low and high, or values")


def _run(config: DictConfig, folder: Path, trial: "optuna.Trial") -> float:
    """Train with the suggested settings; returns the best epoch's objective."""
    log.info("trial %d: %s", trial.number, _said(trial.params))
    tried = _with(config, trial.params, _folder(folder, trial.number))
    checks.check(tried)
    return train(tried, parts=("val",))


def _folder(folder: Path, number: int) -> Path:
    return folder / f"trial{number:03d}"


def _with(config: DictConfig, params: Mapping[str, Any], run: Path) -> DictConfig:
    """The configuration of a trial."""
    tried = copy.deepcopy(config)
    for key, value in params.items():
        OmegaConf.update(tried, key, value)
    tried.run_dir = str(run)
    return tried


def _test(config: DictConfig, params: Mapping[str, Any], run: Path) -> float:
    """Test accuracy of a trial, from the trial's `metrics.json`; measured first if that file has no test metrics."""
    metrics = RunFolder(run).metrics
    if "test/acc" not in metrics:
        tried = _with(config, params, run)
        with open_dict(tried):
            tried.update(checkpoint=str(RunFolder(run).best), parts=["test"], output=None)
        metrics = remeasure(tried)
    return float(metrics["test/acc"])


def _write(folder: Path, config: DictConfig, study: "optuna.Study") -> str:
    """Write `search.json`, `search.md`, `history.png` and, with enough trials, `importances.png`; returns the table."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    from actionrec.evaluation import plots
    from actionrec.reporting.tables import lines_of

    complete = [trial for trial in study.trials if trial.value is not None]
    if not complete:
        diverged = sum(trial.state.name == "PRUNED" for trial in study.trials)
        raise ActionRecError(
            f"{folder}: all {diverged} trials diverged; search lower learning rates under another name "
            "(search.name=<name>), or allow more trials with search.trials=<number>"
        )
    objective, lowest = config.objective, direction(config.objective) == "min"
    ranked = sorted(complete, key=lambda trial: (trial.value or 0.0) * (1 if lowest else -1))
    rows = [{"trial": trial.number, **trial.params, objective: trial.value} for trial in ranked]
    rows[0]["test/acc"] = _test(config, ranked[0].params, _folder(folder, ranked[0].number))
    keys = [setting["key"] for setting in plain(config)["search"]["space"]]
    lines = [("trial", *keys, objective, "test/acc")]
    for row in rows:
        test = f"{row['test/acc']:.3f}" if "test/acc" in row else ""
        lines.append((str(row["trial"]), *(_short(row[key]) for key in keys), f"{row[objective]:.3f}", test))
    text = lines_of(lines)
    found = {"name": study.study_name, "stage": config.stage, "trials": len(rows), "best": rows[0], "rows": rows}
    values = {trial.number: trial.value or 0.0 for trial in complete}
    figures = {"history.png": plots.history(values, objective, lowest)}
    if len({trial.value for trial in complete}) > 1 and len(complete) >= ENOUGH * len(keys):
        # fANOVA instead of Optuna's default (PED-ANOVA), which compares the best trials with all trials, and with few
        # trials gives noise.
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=config.seed))
        found["importances"] = {key: float(share) for key, share in shares.items()}
        figures["importances.png"] = plots.importances(found["importances"], len(complete), objective)
    for name, figure in figures.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(plots.png(figure))
    write_json(folder / "search.json", found)
    write_text(folder / "search.md", text + "\n")
    return text


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ActionRecError("a search needs Optuna: pip install 'actionrec[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _said(params: dict[str, Any]) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in params.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
