"""Trainings by their command line that are told to stop, are killed or moved, or change Lightning's settings."""

import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from actionrec.callbacks import LogEpochLine
from actionrec.callbacks.best import checkpoints_whole
from actionrec.evaluation import scores
from actionrec.modules.checkpoint import read
from tests.conftest import QUICK, TAGS, metrics_of, raise_error

STILLS = "experiment=stanford40_frame"
EMA = "lightning.pytorch.callbacks.weight_averaging.EMAWeightAveraging"


@pytest.fixture
def command(paths) -> list[str]:
    return [STILLS, *paths, *QUICK, "trainer.max_epochs=2", "optimizer.lr=0.01", "logger=none", "resume=auto"]


@pytest.fixture
def in_epoch(monkeypatch):
    """Send this process signals at the start of the second of two epochs, once."""

    def send(*signals):
        left = list(signals)

        def on_train_epoch_start(callback, trainer, module):
            while trainer.current_epoch == 1 and left:
                os.kill(os.getpid(), left.pop(0))

        monkeypatch.setattr(LogEpochLine, "on_train_epoch_start", on_train_epoch_start)

    return send


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """A job of SLURM's; returns the file that has the arguments of each `scontrol`."""
    said, scontrol = tmp_path / "said", tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"JOB_ID": "123", "JOB_NAME": "train", "NTASKS": "1", "NTASKS_PER_NODE": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    return said


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_is_told_to_stop_says_so_and_can_go_on(tmp_path, run, command, in_epoch, sign, status):
    in_epoch(sign)
    # A shell has its background jobs ignore SIGINT, and a test may run in one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert run("train", *command).status == status
    signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    folder = tmp_path / "outputs/demo/stanford40_frame/split1-seed0"
    assert not folder.exists()
    assert checkpoints_whole(folder.with_name("split1-seed0.partial") / "checkpoints")


@pytest.mark.ci
def test_a_training_that_is_killed_ends_as_if_it_had_not_been(tmp_path, run, command):
    """To the bit, whenever it was: after one epoch or two, between two checkpoints or within one."""
    outputs, draw = tmp_path / "outputs", random.SystemRandom()
    command = [*command, "trainer.max_epochs=3"]
    folder = outputs / "demo/stanford40_frame/split1-seed0"
    last = folder.with_name("split1-seed0.partial") / "checkpoints/last.ckpt"
    epochs, delay = draw.randint(1, 2), draw.uniform(0, 0.3)
    process = subprocess.Popen([sys.executable, "-m", "actionrec", "train", *command], stderr=subprocess.DEVNULL)
    seen: set[int] = set()
    while process.poll() is None and len(seen) < epochs:
        with contextlib.suppress(FileNotFoundError):
            seen.add(last.stat().st_ino)
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.wait()
    killed = not folder.exists()
    outcome = run("train", *command)
    assert ("resumes " in outcome.err) == killed
    kept = {path.name for path in folder.rglob("*")}
    resumed = [metrics_of(outputs, "stanford40_frame"), read(folder / "checkpoints/best.ckpt")["state_dict"]]
    assert run("train", *command, "resume=false").status == 0
    undisturbed = [metrics_of(outputs, "stanford40_frame"), read(folder / "checkpoints/best.ckpt")["state_dict"]]
    assert resumed[0] == undisturbed[0], (epochs, delay)
    assert all(torch.equal(value, resumed[1][key]) for key, value in undisturbed[1].items()), (epochs, delay)
    assert kept == {path.name for path in folder.rglob("*")}


def test_a_multirun_that_is_told_to_stop_starts_no_other_job(tmp_path, run, command, in_epoch):
    in_epoch(signal.SIGTERM)
    assert run("train", *command, "seed=0,1", "sweep.name=both", "--multirun").status == 143
    [job] = (each for each in (tmp_path / "outputs/demo/sweeps/both").iterdir() if each.is_dir())
    assert "seed-0" in job.name
    assert job.suffix == ".partial"


def test_a_search_that_is_told_to_stop_says_so(run, command, monkeypatch):
    monkeypatch.setattr("actionrec.experiment.search.train", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    space = "search.space=[{key: optimizer.lr, values: [0.1, 0.2]}]"
    assert run("search", *command, space, "search.trials=2").status == 143


@pytest.mark.ci
def test_a_job_that_slurm_is_about_to_end_is_requeued_and_measures_the_best_network(
    tmp_path, run, command, in_epoch, slurm
):
    """Done before it is ended; and ended, then started again where a trainer of Lightning's own left its weights."""
    outputs, results = tmp_path / "outputs", []
    folder = outputs / "demo/stanford40_frame/split1-seed0"
    for signals, statuses in (((), [0]), ((signal.SIGUSR1,), [0]), ((signal.SIGUSR1, signal.SIGTERM), [143, 0])):
        shutil.rmtree(outputs, ignore_errors=True)
        in_epoch(*signals)
        for status in statuses:
            outcome = run("train", *command)
            assert outcome.status == status, outcome.err
            if status:
                partial = folder.with_name("split1-seed0.partial")
                raw = torch.load(partial / "checkpoints/last.ckpt", weights_only=True)
                raw["state_dict"] = {key: torch.zeros_like(value) for key, value in raw["state_dict"].items()}
                torch.save(raw, partial / "hpc_ckpt_1.ckpt")
        assert not list(folder.rglob("hpc_ckpt*"))
        results.append(metrics_of(outputs, "stanford40_frame"))
    assert results == [results[0]] * 3
    assert slurm.read_text() == "requeue 123\n" * 2


def test_a_training_that_diverges_leaves_no_run(tmp_path, run, command):
    outcome = run("train", *command, "optimizer.lr=1e30")
    assert outcome.status == 1
    [line] = (line for line in outcome.err.splitlines() if line.startswith("error: "))
    assert re.match(r"error: epoch 1, .* loss is .*lower optimizer\.lr", line)
    assert [each.name for each in (tmp_path / "outputs/demo/stanford40_frame").iterdir()] == ["split1-seed0.partial"]


@pytest.mark.ci
def test_a_run_that_is_killed_while_it_is_measured_loses_no_metric(tmp_path, run, command, monkeypatch):
    outputs = tmp_path / "outputs"
    with monkeypatch.context() as killed:
        killed.setattr("actionrec.experiment.measurement.measure", raise_error(KeyboardInterrupt()))
        assert run("train", *command).status == 130
    assert run("train", *command).status == 0
    healed = metrics_of(outputs, "stanford40_frame")
    assert set(healed) > TAGS
    seconds = json.loads((outputs / "demo/stanford40_frame/split1-seed0/metrics.json").read_text())["fit_seconds"]
    assert seconds > 0.3


def without_memory(module, batch, index):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried")


def killed_in_a_worker(dataset, index):
    assert torch.utils.data.get_worker_info()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("place", "does", "line"),
    [
        (
            "system.checkpoint_io.os.fsync",
            raise_error(OSError(errno.ENOSPC, "")),
            r"\S+/best\.ckpt: No space left .*; make",
        ),
        ("modules.base.ActionModule.training_step", without_memory, r"out of memory .* lower data\.batch_size"),
        ("datamodules.samples.StillDataset.__getitem__", killed_in_a_worker, r"a loader process .*data\.num_workers"),
    ],
    ids=["disk", "memory", "worker"],
)
def test_a_training_that_the_machine_ends_says_why_in_a_line(run, paths, monkeypatch, place, does, line):
    monkeypatch.setattr(f"actionrec.{place}", does)
    outcome = run("train", STILLS, *paths, *QUICK, "data.num_workers=1", "logger=none")
    assert outcome.status == 1
    [said] = (each for each in outcome.err.splitlines() if each.startswith("error: "))
    assert re.match(f"error: {line}", said)
    assert "Traceback" not in outcome.err


def test_the_network_that_validation_chose_is_the_one_that_is_measured(tmp_path, paths, run):
    """With an average of the weights that one epoch sets far apart from the weights."""
    outcome = run("train", STILLS, *paths, *QUICK, f"+callbacks.ema={{_target_: {EMA}, decay: 0.9}}")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/demo/stanford40_frame/split1-seed0"
    best, last = (read(folder / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert any(not torch.equal(value, last["current_model_state"][key]) for key, value in best["state_dict"].items())
    for key, value in best["state_dict"].items():
        assert torch.equal(value, last["state_dict"][key]), key
    found = scores.load(folder / "scores_val.npz")
    accuracy = (found.logits.argmax(1) == found.labels).float().mean().item()
    assert accuracy == pytest.approx(best["best"]["value"])
