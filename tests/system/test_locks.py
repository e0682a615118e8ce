"""Locks, tested with several real processes."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from actionrec.system import locks
from actionrec.system.locks import BusyError, acquire, lock_file, only_writer, release
from tests.conftest import raise_error

PRELUDE = """
import errno, os, sys, time
from pathlib import Path
from actionrec.system import locks
path = Path(sys.argv[1])
locks.HEARTBEAT_SECONDS = 0.05
def without_locks(*_):
    raise OSError(errno.ENOLCK, "no locks")
"""
HOLD = "locks.acquire(path, 'run'); print('held', flush=True)\n"
NO_LOCKS = "locks.fcntl.lockf = without_locks\n"


@pytest.fixture
def other():
    """Start another process; returns when it prints that it holds the lock."""
    started = []

    def start(path, code, waits=True):
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        started.append(process)
        if waits:
            assert process.stdout.readline().strip() == "held"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.05)


@pytest.fixture
def no_record_locks(monkeypatch, quick):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "lockf", lockf)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def is_free(path):
    with only_writer(path, "run"):
        assert lock_file(path).exists()
    return not lock_file(path).exists()


def test_the_second_writer_is_told_who_the_first_is(tmp_path, other):
    path = tmp_path / "run"
    owner = other(path, HOLD + "sys.stdin.readline(); locks.release(path)")
    with pytest.raises(
        BusyError, match=rf"^run {path} is being written by process {owner.pid} on \S+ since 20.*"
    ) as no:
        acquire(path, "run")
    assert "\n" not in str(no.value)
    assert owner.poll() is None
    owner.communicate("\n")
    assert is_free(path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_leads_to_the_same_lock(tmp_path, other):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    other(tmp_path / "run", HOLD + "time.sleep(60)")
    with pytest.raises(BusyError):
        acquire(tmp_path / "link", "run")


def test_a_dead_owner_is_none(tmp_path, other):
    path = tmp_path / "run"
    kill(other(path, HOLD + "time.sleep(60)"))
    assert lock_file(path).exists()
    assert is_free(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_neither_holds_the_lock_nor_lets_go_of_it(tmp_path, other):
    """One loader process ends before its parent, another one outlives its parent."""
    path = tmp_path / "run"
    owner = other(
        path,
        """
        locks.acquire(path, "run")
        if not os.fork():
            locks.release(path)
            os._exit(0)
        os.wait()
        child = os.fork()
        if not child:
            time.sleep(60)
        print("held", flush=True)
        print(child, flush=True)
        time.sleep(60)
        """,
    )
    child = int(owner.stdout.readline())
    with pytest.raises(BusyError):
        acquire(path, "run")
    kill(owner)
    os.kill(child, 0)
    try:
        assert is_free(path)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_writer_may_be_one_again(tmp_path, other):
    path = tmp_path / "run"
    with only_writer(path, "run"):
        with only_writer(path, "run"):
            pass
        seeker = other(path, HOLD, waits=False)
        assert seeker.wait() == 1
    assert is_free(path)
    release(path)


def test_one_may_wait_for_the_first_to_end(tmp_path, other, caplog):
    path = tmp_path / "run"
    other(path, HOLD + "time.sleep(0.5); locks.release(path)")
    began = time.monotonic()
    with caplog.at_level("INFO"), only_writer(path, "frames", wait=True):
        assert time.monotonic() - began > 0.2
    assert caplog.text.count("is being written by process") == 1


def test_no_two_are_in_at_once(tmp_path, other):
    """Six processes increment a number in a file, each with a pause between reading and writing."""
    (tmp_path / "number").write_text("0")
    code = """
    locks._RETRY_SECONDS = 0.001
    number = path.with_name("number")
    for _ in range(20):
        with locks.only_writer(path, "number", wait=True):
            value = int(number.read_text())
            time.sleep(0.001)
            number.write_text(str(value + 1))
    """
    processes = [other(tmp_path / "place", code, waits=False) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert (tmp_path / "number").read_text() == "120"
    assert [each.name for each in tmp_path.iterdir()] == ["number"]


def test_without_record_locks_the_heartbeat_decides(tmp_path, other, no_record_locks):
    path = tmp_path / "run"
    owner = other(path, NO_LOCKS + HOLD + "time.sleep(60)")
    with pytest.raises(BusyError, match=f"process {owner.pid}"):
        acquire(path, "run")
    kill(owner)
    assert is_free(path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_lock_of_one_machine_alone_does_not_hide_the_writer_on_another(tmp_path, other, quick):
    """The owner is on another machine, so this machine's kernel does not know its record lock."""
    path = tmp_path / "run"
    owner = other(path, NO_LOCKS + "locks.socket.gethostname = lambda: 'elsewhere'\n" + HOLD + "time.sleep(60)")
    with pytest.raises(BusyError, match=f"process {owner.pid} on elsewhere"):
        acquire(path, "run")
    kill(owner)
    assert is_free(path)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"[1]"])
def test_a_lock_that_says_nothing_is_in_nobodys_way(tmp_path, quick, content):
    path = tmp_path / "run"
    lock_file(path).write_bytes(content)
    assert is_free(path)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    path = tmp_path / "run"
    monkeypatch.setattr(locks.os, "open", raise_error(OSError(errno.EROFS, "Read-only file system", "/x/.run.lock")))
    with pytest.raises(OSError, match=f"Read-only file system: '{path}'"):
        acquire(path, "run")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_takes_no_files_is_named():
    with pytest.raises(PermissionError, match="/proc/x"):
        locks.acquire(Path("/proc/x"), "the run")
