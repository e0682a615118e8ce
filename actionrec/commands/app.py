"""What the verbs share: composition by Hydra, and errors as one line."""

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

from actionrec.experiment.runs import is_first_process
from actionrec.settings import checks, overrides, rules
from actionrec.settings.composition import CONF, config_groups, in_multirun
from actionrec.settings.messages import is_users, one_line
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError

# Threads that wait for each other sleep instead of spinning. With one busy process beside a training on two cores,
# spinning made epochs fifteen times longer. Read when torch is loaded, which every verb does after this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

INTERRUPTED, TERMINATED = 130, 143  # what shells say of a command that SIGINT or SIGTERM ended

FULL_ERROR = "HYDRA_FULL_ERROR"
Task = Callable[[DictConfig], Any]


def command(config_name: str, choose: str | None = None) -> Callable[[Task], Callable[..., None]]:
    """Make a command line of a task: composed from `conf/<config_name>.yaml`, bad input in one line and status 1.

    One of the config group `choose` must be chosen. With `HYDRA_FULL_ERROR=1` in the environment errors keep their
    traceback.
    """

    def decorate(task: Task) -> Callable[..., None]:
        command_line: list[str] = []

        @wraps(task)
        def job(config: DictConfig) -> Any:
            _quieten()  # again, since this may be a process of a launcher's
            sys.argv = list(command_line)  # Lightning starts the processes of other devices by it
            try:
                again = config.get("run_again")
                checks.require("run_again", again, rules.maybe(rules.folder, None))
                if again and config_name != "train":
                    raise ActionRecError(f"run_again={again}: actionrec train alone trains a run again")
                if not again:  # else the settings come from a run's folder, and the task checks them
                    if choose and not HydraConfig.get().runtime.choices[choose]:
                        options = sorted(path.stem for path in (CONF / choose).glob("*.yaml"))
                        raise ActionRecError(f"say which {choose}: {choose}={'|'.join(options)}")
                    checks.check(config)
                    checks.check_stage(config, HydraConfig.get().runtime.choices, config_groups())
                return task(config)
            except Exception as error:
                if not is_users(error) or in_multirun() or traceback_wanted:
                    raise  # a multirun finishes the other jobs first
                _exit_with(error)
            finally:
                if in_multirun():
                    gc.collect()  # a trainer and its module refer to each other, and would stay until long after

        run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        def main(typed: Sequence[str] = ()) -> None:
            """Run the command of `sys.argv`, or of the whole line that was typed, whose verb `sys.argv` lacks."""
            command_line[:] = typed or sys.argv
            before = os.environ.get(FULL_ERROR)
            os.environ[FULL_ERROR] = "1"  # Hydra would print its own errors; this hands them to us
            # Else the interpreter looks for reference cycles in all that torch has loaded before it ends: seconds in
            # which the results are there and the prompt is not.
            atexit.register(gc.freeze)
            _quieten()
            try:
                trains = choose == "experiment" or config_name == "chain"
                sys.argv[1:] = overrides.for_hydra(sys.argv[1:], config_groups(), trains)
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
            finally:  # commands that this process starts later choose for themselves
                if before is None:
                    os.environ.pop(FULL_ERROR, None)
                else:
                    os.environ[FULL_ERROR] = before

        traceback_wanted = os.environ.get(FULL_ERROR) == "1"
        return main

    return decorate


@contextmanager
def heeds_sigterm() -> Iterator[None]:
    """Have SIGTERM unwind this process, as SIGINT does, and end it with status 143.

    By default it would end at once, and leave half-written files; within a training Lightning would end it with
    status 0, by which a scheduler, or Make, takes it for done.
    """
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != process:  # a fork's, which unwinds nothing
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
    """The status that a verb ends with, where Lightning ended it after a signal."""
    if type(stop).__name__ == "SIGTERMException":
        return TERMINATED
    if isinstance(stop.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return stop.code


@contextmanager
def _live(verb: str) -> Iterator[None]:
    """Show on the terminal what the command is doing; not where Hydra only prints, nor in the further processes of a
    training on several devices."""
    prints = [word for word in sys.argv[1:] if word.startswith("-") and word not in ("-m", "--multirun")]
    if prints or not is_first_process():
        yield
        return
    with terminal.live(f"actionrec {verb}"):
        yield


def _exit_with(error: BaseException) -> None:
    sys.exit(f"{terminal.paint('error:', terminal.RED)} {one_line(error)}")


def _quieten() -> None:
    """Keep warnings out that ask for nothing; conf/hydra/job_logging does the same for Lightning's chat."""
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*callbacks used to create the checkpoint need to be provided.*",  # they were left out by name, or are of old
        ".*lr_scheduler.step\\(\\).*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # frozen streams
        ".*isinstance\\(treespec, LeafSpec\\).*",
    ):
        warnings.filterwarnings("ignore", message)
