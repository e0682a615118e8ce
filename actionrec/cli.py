"""What the verbs share: composition by Hydra, and errors as one line."""

import gc
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actionrec import checks, overrides
from actionrec.errors import ActionRecError

# Threads that wait for each other sleep instead of spinning. With one busy process beside a training on two cores,
# spinning made epochs fifteen times longer. Read when torch is loaded, which every verb does after this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CONF = Path(__file__).parents[1] / "conf"

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
Task = Callable[[DictConfig], Any]


def verb(config_name: str, choose: str | None = None) -> Callable[[Task], Callable[[], None]]:
    """Make a command line of a task: composed from `conf/<config_name>.yaml`, bad input in one line and status 1.

    One of the config group `choose` must be chosen. With `HYDRA_FULL_ERROR=1` in the environment errors keep their
    traceback.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @wraps(task)
        def job(config: DictConfig) -> Any:
            try:
                if choose and not HydraConfig.get().runtime.choices[choose]:
                    options = sorted(path.stem for path in (CONF / choose).glob("*.yaml"))
                    raise ActionRecError(f"say which {choose}: {choose}={'|'.join(options)}")
                checks.check(config)
                checks.check_stage(config, HydraConfig.get().runtime.choices, config_groups())
                return task(config)
            except Exception as error:
                if not _is_users(error) or in_multirun() or traceback_wanted:
                    raise  # a multirun finishes the other jobs first
                _exit_with(error)
            finally:
                if in_multirun():
                    gc.collect()  # a trainer and its module refer to each other, and would stay until long after

        run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print its own errors; this hands them to us
            _quieten()
            try:
                overrides.check(sys.argv[1:], config_groups(), choose)
                run()
            except KeyboardInterrupt:
                sys.exit(130)  # what shells say of an interrupted command
            except Exception as error:
                if traceback_wanted or not _is_users(error):
                    raise
                _exit_with(error)

        traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
        return main

    return decorate


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain types, interpolations resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


def config_groups() -> dict[str, list[str]]:
    """The choices of every config group, sorted."""
    groups: dict[str, list[str]] = {}
    for path in sorted(CONF.glob("*/*.yaml")):
        groups.setdefault(path.parent.name, []).append(path.stem)
    return groups


def in_multirun() -> bool:
    """Whether this is a job of a Hydra multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def one_line(error: BaseException) -> str:
    """The message of an error without its line ends, and without what Hydra and loader processes wrap around it."""
    text = str(_bad_input(error) or error)
    if isinstance(error, OverrideParseException):
        text = overrides.unreadable(error.override) or text
    if text.startswith("Caught "):  # torch's wording of an error that a worker raised
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.partition("Config search path:")[0].split())


def _bad_input(error: BaseException | None) -> ActionRecError | None:
    """The error of ours that another was raised from, as `instantiate` does with whatever a target raises."""
    while error:
        if isinstance(error, ActionRecError):
            return error
        error = error.__cause__
    return None


def _is_users(error: BaseException) -> bool:
    """Whether an error is about what the user gave, rather than a defect."""
    return _bad_input(error) is not None or isinstance(error, COMPOSITION_ERRORS)


def _exit_with(error: BaseException) -> None:
    sys.exit(f"error: {one_line(error)}")


def _quieten() -> None:
    """Keep warnings out that ask for nothing; conf/hydra/job_logging does the same for Lightning's chat."""
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*lr_scheduler.step\\(\\).*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # frozen streams
        ".*isinstance\\(treespec, LeafSpec\\).*",
    ):
        warnings.filterwarnings("ignore", message)
