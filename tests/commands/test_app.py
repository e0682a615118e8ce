import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from actionrec.commands.app import heeds_sigterm
from actionrec.settings.messages import one_line
from actionrec.system.errors import ActionRecError
from tests.conftest import VERBS, raise_error

FROM_A_WORKER = """Caught ActionRecError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1, in fetch
actionrec.system.errors.ActionRecError: cannot read: a.jpg
"""


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ActionRecError("data.x=1: use 2"), "data.x=1: use 2"),
        (raised_from(ValueError("Error in call to target"), ActionRecError("mend it")), "mend it"),
        (ActionRecError(FROM_A_WORKER), "cannot read: a.jpg"),
        (ValueError("No 'foo'\nAvailable:\n\tbar\nConfig search path:\n\tx"), "No 'foo' Available: bar"),
    ],
)
def test_errors_are_one_line(error, line):
    assert one_line(error) == line


NO_ROOM = OSError(errno.ENOSPC, "No space left on device", "/o/metrics.json")
OF_A_WORKER = """Caught PermissionError in DataLoader worker process 1.
Original Traceback (most recent call last):
PermissionError: [Errno 13] Permission denied: '/d/a b.jpg'
"""
KILLED = "DataLoader worker (pid 7) is killed by signal: Killed. "


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


class OperationalError(Exception):
    """As SQLAlchemy calls its own."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NO_ROOM, r"/o/metrics\.json: No space left on device; make room, or write elsewhere"),
        (OSError(errno.ENOSPC, "No space left on device"), r"No space left on device; make room"),
        (OSError(errno.EFBIG, "File too large", "/o/last.ckpt"), r"/o/last\.ckpt: File too large; raise the limit"),
        (OSError(errno.EROFS, "", b"/o"), r"/o: Read-only file system; write elsewhere \(paths\.outputs"),
        (PermissionError(errno.EACCES, "", "/o"), r"/o: Permission denied; check its permissions"),
        (OSError(errno.EMFILE, "", "/d/a.jpg"), r"/d/a\.jpg: Too many open files; .*data\.num_workers"),
        (OSError(errno.ENAMETOOLONG, "", "/o"), r"/o: File name too long; shorten it"),
        (FileExistsError(errno.EEXIST, "", "/o"), r"/o: File exists; something else lies there"),
        (NotADirectoryError(errno.ENOTDIR, "", "/o"), r"/o: Not a directory; a file lies where"),
        (PermissionError(OF_A_WORKER), r"/d/a b\.jpg: Permission denied; check its permissions"),
        (MemoryError(), r"out of memory \(MemoryError\); lower data\.batch_size, data\.size"),
        (OutOfMemoryError("CUDA out of memory. Tried"), r"out of memory \(CUDA .*\); lower data\.batch_size"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"), r"out of memory .*lower"),
        (RuntimeError(KILLED), r"a loader process was killed by signal: Killed, .* lower data\.num_workers"),
        (
            RuntimeError("AdamW does not allow for gradient clipping because"),
            r"trainer.*; set optimizer\.fused=auto",
        ),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), r"a loader process exited unexpectedly"),
        (OperationalError("(sqlite3.OperationalError) database or disk is full\n[SQL"), r"study\.db: .*; make room"),
        (raised_from(RuntimeError("internal"), NO_ROOM), r"/o/metrics\.json: No space left"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_the_machine_lacks_is_one_line_that_says_what_to_do(run, monkeypatch, paths, error, line):
    monkeypatch.setattr("actionrec.reporting.outputs.read_outputs", raise_error(error))
    outcome = run("report", *paths)
    assert outcome.status == 1
    [said] = outcome.err.splitlines()
    assert re.match(f"error: {line}", said)


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "", "/o"), RuntimeError("worker"), OSError("odd")])
def test_a_defect_of_ours_is_not_blamed_on_the_machine(run, monkeypatch, paths, error):
    monkeypatch.setattr("actionrec.reporting.outputs.read_outputs", raise_error(error))
    with pytest.raises(type(error)):
        run("report", *paths)


def test_sigterm_unwinds_this_process_and_ends_a_fork():
    begun = time.monotonic()

    def stopped(context):
        with heeds_sigterm():
            ready, pipe = context.Pipe()
            child = context.Process(target=child_of, args=(pipe,))
            child.start()
            ready.recv()
            child.terminate()
            child.join()
            assert child.exitcode == -signal.SIGTERM
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    with pytest.raises(SystemExit) as stop:
        stopped(multiprocessing.get_context("fork"))
    assert stop.value.code == 143
    assert time.monotonic() - begun < 30
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def child_of(pipe):
    pipe.send("ready")
    time.sleep(60)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_composes_without_loading_torch(verb):
    """So that --help, --cfg job and typos answer at once."""
    heavy = ("torch", "lightning", "cv2")
    code = f"import sys; import actionrec.commands.{verb}; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_groups_and_the_settings(run, verb):
    outcome = run(verb, "--help")
    assert outcome.status == 0
    assert "Configuration groups" in outcome.out
    assert "paths:" in outcome.out


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 141, ""),
        (["report", "--help"], 141, ""),
        (["report", "--cfg", "job"], 141, ""),
        (["trian"], 1, "error: actionrec trian: no such verb.*\n"),
    ],
)
def test_a_command_whose_reader_has_gone_ends_quietly(words, status, said, unbuffered):
    read, write = os.pipe()
    os.close(read)
    try:
        settings = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        command = [sys.executable, "-m", "actionrec", *words]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=settings)
    finally:
        os.close(write)
    assert done.returncode == status
    assert re.fullmatch(said, done.stderr)


@pytest.mark.ci
def test_a_verb_whose_reader_has_gone_ends_quietly(paths):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "actionrec", "chain", "dry_run=true", *paths]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_pipe_that_breaks_elsewhere_keeps_its_traceback(run, monkeypatch, paths):
    monkeypatch.setattr("actionrec.reporting.outputs.read_outputs", raise_error(BrokenPipeError(errno.EPIPE, "")))
    with pytest.raises(BrokenPipeError):
        run("report", *paths)


def test_a_defect_keeps_its_traceback(run, monkeypatch, paths):
    monkeypatch.setattr("actionrec.reporting.outputs.read_outputs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("report", *paths)


def test_commands_that_are_started_later_choose_their_own_tracebacks(run, paths, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert run("report", *paths).status == 1
    assert "HYDRA_FULL_ERROR" not in os.environ
