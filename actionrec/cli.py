"""What the verbs share: composition by Hydra, and errors as one line."""

import errno
import gc
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actionrec import checks, overrides, rules
from actionrec.errors import ActionRecError

# Threads that wait for each other sleep instead of spinning. With one busy process beside a training on two cores,
# spinning made epochs fifteen times longer. Read when torch is loaded, which every verb does after this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CONF = Path(__file__).parents[1] / "conf"

# `split1-seed0${suffix:${tag}}` is split1-seed0, or with a tag split1-seed0-<tag>.
OmegaConf.register_new_resolver("suffix", lambda tag: f"-{tag}" if tag else "", replace=True)
# `${times:a,b}` in conf/: the optimiser's own rate by the factor of the recipe.
OmegaConf.register_new_resolver("times", lambda a, b: float(f"{a * b:.12g}"), replace=True)
INTERRUPTED, TERMINATED = 130, 143  # what shells say of a command that SIGINT or SIGTERM ended

FULL_ERROR = "HYDRA_FULL_ERROR"
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
                again = config.get("run_again")
                checks.require("run_again", again, rules.maybe(rules.folder, None))
                if again and config_name != "train":
                    raise ActionRecError(f"run_again={again}: actionrec.train alone trains a run again")
                if not again:  # else the settings come from a run's folder, and the task checks them
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
            before = os.environ.get(FULL_ERROR)
            os.environ[FULL_ERROR] = "1"  # Hydra would print its own errors; this hands them to us
            _quieten()
            try:
                overrides.check(sys.argv[1:], config_groups(), choose)
                with heeds_sigterm():
                    run()
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
            except SystemExit as stop:
                sys.exit(_status(stop))
            except Exception as error:
                if traceback_wanted or not _is_users(error):
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
    """The error of ours that another was raised from, as `instantiate` does with whatever a target raises.

    What the machine lacks counts as bad input, too.
    """
    while error:
        if isinstance(error, ActionRecError):
            return error
        if lack := _lack(error):
            return ActionRecError(lack)
        error = error.__cause__
    return None


def _is_users(error: BaseException) -> bool:
    """Whether an error is about what the user gave, rather than a defect."""
    return _bad_input(error) is not None or isinstance(error, COMPOSITION_ERRORS)


def _lack(error: BaseException) -> str | None:
    """What the machine lacks where that is all that is wrong: room, rights, memory; and what to do."""
    text = str(error).strip()
    if text.startswith("Caught "):  # torch's wording of an error that a worker raised
        text = text.splitlines()[-1].partition(": ")[2]
    said = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, OSError):
        number, file = error.errno, error.filename
        if number is None and (found := re.search(r"\[Errno (\d+)\] .*?(?:: '(.*)')?$", text)):  # a worker's
            number, file = int(found[1]), found[2]
        reason = os.strerror(number) if number else said
        where = f"{os.fsdecode(file)}: " if file else ""
        return f"{where}{reason}; {_MENDS[number]}" if number in _MENDS else None
    if type(error).__name__ == "OperationalError" and "sqlite3" in text:  # of Optuna's storage
        return next((f"study.db: {said}; {mend}" for said, mend in _DATABASE.items() if said in text), None)
    if "does not allow for gradient clipping" in text:  # Lightning, of mixed precision
        return f"trainer.gradient_clip_val: {said.rstrip('.')}; set optimizer.fused=false"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _OUT_OF_MEMORY.search(text):
        return f"out of memory ({said:.100}); lower data.batch_size, data.size or data.num_workers"
    if found := re.search(r"DataLoader worker .*(killed by signal: \w+|exited unexpectedly)", text):
        fate = found[1].replace("killed", "was killed")
        return f"a loader process {fate}, most often for want of memory; lower data.num_workers or data.batch_size"
    return None


_ROOM = "make room, or write elsewhere (paths.outputs, paths.flow, paths.frames), and run the same command again"
_RIGHTS = "check its permissions, or choose another place (paths=…)"
_MENDS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: f"raise the limit on the size of files, or {_ROOM}",
    errno.EROFS: "write elsewhere (paths.outputs, paths.flow, paths.frames)",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EBUSY: "it is a mount point, or in use; choose another place",
    errno.EIO: "check the disk, and run the same command again",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or lower data.num_workers",
    errno.ENAMETOOLONG: "shorten it",
    errno.ENOTDIR: "a file lies where a folder is wanted; move it away, or choose another place",
    errno.EISDIR: "a folder lies where a file is wanted; move it away, or choose another place",
    errno.EEXIST: "something else lies there; move it away, or choose another place",
}
_DATABASE = {
    "database or disk is full": _ROOM,
    "readonly database": _RIGHTS,
    "unable to open database file": _RIGHTS,
    "disk I/O error": _ROOM,
}
_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|CUDA out of memory|Insufficient memory|Unable to allocate"
)


def _exit_with(error: BaseException) -> None:
    sys.exit(f"error: {one_line(error)}")


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
