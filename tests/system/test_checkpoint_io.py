"""Checkpoints are whole or not there, and the one before stays until then."""

import errno
import multiprocessing
import os
import resource
import signal

import pytest
import torch

from actionrec.system.checkpoint_io import AtomicCheckpointIO
from actionrec.system.hardware import create_trainer
from tests.conftest import raise_error


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 0}, path)
    return path


def test_the_checkpoint_before_stays_until_the_new_one_is_whole(path, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(
            "actionrec.system.checkpoint_io.os.fsync", raise_error(OSError(errno.ENOSPC, "No space left on device"))
        )
        with pytest.raises(OSError, match=r"No space left on device: '.*/last\.ckpt'"):
            AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 0}
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def in_a_fork(function) -> int:
    """The status of a process that does it."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join()
    return process.exitcode


def test_a_writer_that_is_killed_leaves_the_checkpoint_before_and_nothing_in_tmpdir(path, tmp_path, monkeypatch):
    """TMPDIR is a place that does not exist, and what the killed one has begun is removed by the next."""
    with monkeypatch.context() as killed:
        killed.setattr("tempfile.tempdir", str(tmp_path / "none"))
        killed.setattr("actionrec.system.checkpoint_io.os.fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        assert in_a_fork(lambda: AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)) == -signal.SIGKILL
    assert torch.load(path, weights_only=True) == {"epoch": 0}
    assert len(list(path.parent.iterdir())) == 2
    AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_a_full_disk_is_said_with_the_file(path):
    """For which a limit on the size of files stands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/last\.ckpt'"):
            AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path, weights_only=True) == {"epoch": 0}
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_trainers_write_by_it_unless_they_are_told_otherwise(tmp_path):
    from lightning.fabric.plugins.io import TorchCheckpointIO

    options = {"accelerator": "cpu", "logger": False, "default_root_dir": str(tmp_path)}
    assert isinstance(create_trainer("32-true", **options).strategy.checkpoint_io, AtomicCheckpointIO)
    own = create_trainer("32-true", plugins=[TorchCheckpointIO()], **options).strategy.checkpoint_io
    assert not isinstance(own, AtomicCheckpointIO)
