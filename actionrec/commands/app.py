"""Base of the verbs' command lines: composition by Hydra, and user errors as one line."""

import atexit
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from actionrec.runs.folder import is_first_process
from actionrec.settings import checks, overrides, rules
from actionrec.settings.composition import CONF, config_groups, in_multirun
from actionrec.settings.messages import is_users, one_line
from actionrec.system import pipes, terminal
from actionrec.system.errors import ActionRecError

# OpenMP threads that wait for each other sleep instead of spinning. With one busy process beside a training on two
# cores, spinning made epochs fifteen times longer. The variable is read when torch is loaded, later in every verb.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

INTERRUPTED, TERMINATED = 130, 143  # a shell's exit status of a command that SIGINT or SIGTERM ended

TRAIN = ("train", "chain", "evaluate", "search")  # verbs whose settings have a trainer
FULL_ERROR = "HYDRA_FULL_ERROR"
Task = Callable[[DictConfig], Any]


def command(config_name: str, choose: str | None = None) -> Callable[[Task], Callable[..., None]]:
    """Make a task a command line: settings from `conf/<config_name>.yaml`, user errors as one line and status 1.

    With the environment variable `HYDRA_FULL_ERROR=1` errors keep their traceback.

    Args:
        config_name: name of the verb and of its configuration.
        choose: config group of which the command line must choose an option; None if there is none.
    """

    def decorate(task: Task) -> Callable[..., None]:
        command_line: list[str] = []

        def checked(config: DictConfig) -> Any:
            again = config.get("run_again")
            checks.require("run_again", again, rules.maybe(rules.folder, None))
            if again and config_name != "train":
                raise ActionRecError(f"run_again={again}: actionrec train alone trains a run again")
            checks.check_dataset(config)
            if not again:  # with run_again the settings come from a run's folder, and the task checks them
                if choose and not HydraConfig.get().runtime.choices[choose]:
                    options = sorted(path.stem for path in (CONF / choose).glob("*.yaml"))
                    raise ActionRecError(f"say which {choose}: {choose}={'|'.join(options)}")
                checks.check(config)
                checks.check_stage(config, HydraConfig.get().runtime.choices, config_groups())
            return task(config)

        @wraps(task)
        def job(config: DictConfig) -> Any:
            _quieten()  # called again, because this may be a process of a Hydra launcher
            sys.argv = list(command_line)  # Lightning starts the processes of further devices with this command line
            try:
                with pipes.ends_with_reader():  # before Hydra prints a line about the error
                    return checked(config)
            except Exception as error:
                if not is_users(error) or in_multirun() or traceback_wanted:
                    raise  # in a multirun Hydra runs the other jobs first
                _exit_with(error)
            finally:
                if in_multirun():
                    # Trainer and module form a reference cycle; collect it now, or memory of finished jobs piles up.
                    gc.collect()

        run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        def main(typed: Sequence[str] = ()) -> None:
            """Run the command of `sys.argv`; `typed` is the whole command line including the verb."""
            command_line[:] = typed or sys.argv
            before = os.environ.get(FULL_ERROR)
            os.environ[FULL_ERROR] = "1"  # makes Hydra raise its errors instead of printing them
            # Without gc.freeze, the interpreter searches all objects of torch for reference cycles at exit, which
            # takes seconds after the results are printed.
            atexit.register(gc.freeze)
            _quieten()
            try:
                sys.argv[1:] = overrides.for_hydra(sys.argv[1:], config_groups(), trains=config_name in TRAIN)
                overrides.check(sys.argv[1:], config_groups(), choose)
                with heeds_sigterm(), _live(config_name):
                    run()
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
            except SystemExit as stop:
                sys.exit(_status(stop))
            except Exception as error:
                if traceback_wanted or not is_users(error):
                    raise
                _exit_with(error)
            finally:  # later commands of this process, and its child processes, shall see the user's value
                if before is None:
                    os.environ.pop(FULL_ERROR, None)
                else:
                    os.environ[FULL_ERROR] = before

        traceback_wanted = os.environ.get(FULL_ERROR) == "1"
        return main

    return decorate


@contextmanager
def heeds_sigterm() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, as SIGINT raises KeyboardInterrupt, and end the process with status 143.

    By default SIGTERM would end the process at once, and leave half-written files. During a training Lightning would
    end the process with status 0, which a scheduler or Make reads as success.
    """
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != process:  # a forked worker keeps the default behaviour
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise SystemExit(TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(stop: SystemExit) -> Any:
    """Exit status of a verb; 143 or 130 if Lightning has turned a signal into a SystemExit."""
    if type(stop).__name__ == "SIGTERMException":
        return TERMINATED
    if isinstance(stop.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return stop.code


@contextmanager
def _live(verb: str) -> Iterator[None]:
    """Show progress on the terminal, unless Hydra only prints, and only in the process of rank 0.

    A server has none: its status line would count the seconds for which it waits for browsers.
    """
    prints = [word for word in sys.argv[1:] if word.startswith("-") and word not in ("-m", "--multirun")]
    if prints or verb == "app" or not is_first_process():
        yield
        return
    with terminal.live(f"actionrec {verb}"):
        yield


def _exit_with(error: BaseException) -> None:
    sys.exit(f"{terminal.paint('error:', terminal.RED)} {one_line(error)}")


def _quieten() -> None:
    """Suppress warnings that need no action; conf/hydra/job_logging does the same for Lightning's log lines."""
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*callbacks used to create the checkpoint need to be provided.*",  # ~callbacks.<name>, or an earlier version
        ".*lr_scheduler.step\\(\\).*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # frozen streams
        ".*provided params to be frozen already exist.*",  # batch norms, which BackboneFinetuning leaves learning
        ".*Total length of `list` across ranks is zero.*",  # of a validation without clips, of data.fold=all
        ".*isinstance\\(treespec, LeafSpec\\).*",
    ):
        warnings.filterwarnings("ignore", message)
