import platform
import re
import subprocess
import sys

import pytest
import torch

from actionrec.system import hardware
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import create_trainer, fast_precision, free_memory, loader_workers, usable_cores


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({"avx2": True}, "32-true"),
        ({}, "32-true"),
    ],
)
def test_the_cpu_is_asked_for_bf16(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fast_precision("auto") == fast_precision("cpu") == precision


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_gpu_is_asked_for_bf16(monkeypatch, fast, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    assert fast_precision("auto") == fast_precision("gpu") == precision


def test_an_explicit_precision_is_kept():
    assert create_trainer("32-true", accelerator="cpu", logger=False).precision == "32-true"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_named():
    with pytest.raises(ActionRecError, match=r"trainer\.accelerator=gpu: .*; use trainer=auto"):
        create_trainer(accelerator="gpu")


def test_cores_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(hardware.os, "sched_getaffinity")
    monkeypatch.setattr(hardware.os, "cpu_count", lambda: 6)
    assert usable_cores() == 6


@pytest.mark.parametrize(
    ("gpu", "cores", "devices", "workers"),
    [(False, 1, 1, 1), (False, 2, 1, 1), (False, 16, 1, 4), (True, 8, 1, 8), (True, 64, 1, 16), (True, 16, 4, 4)],
)
def test_loader_processes_leave_a_cpu_to_the_network_and_take_the_cores_beside_a_gpu(
    monkeypatch, gpu, cores, devices, workers
):
    monkeypatch.setattr(hardware, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    assert loader_workers(devices) == workers


def test_free_memory_is_that_of_the_container(monkeypatch, tmp_path):
    whole = free_memory()
    assert 0 < whole < 2**50
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 700\ninactive_file 300\n")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    assert free_memory() == 4300
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 4300


@pytest.mark.parametrize(("devices", "processes"), [(-1, 2), (2, 2), (1, 1)])
def test_on_the_cpu_no_batch_norm_is_synchronised_and_all_devices_are_two_processes(devices, processes):
    trainer = create_trainer(
        precision="32-true", accelerator="cpu", devices=devices, strategy="ddp", sync_batchnorm=True
    )
    assert trainer.num_devices == processes
    assert trainer.strategy._layer_sync is None


HEAPS = """
import ctypes, sys, threading
from actionrec.system.hardware import share_heap
if sys.argv[2] == "shared":
    share_heap()
malloc = ctypes.CDLL(None).malloc
barrier = threading.Barrier(5)
def take():
    malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
barrier.wait()
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(library.fopen(sys.argv[1].encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_the_heap(tmp_path):
    counts = {}
    for kind in ("shared", "own"):
        subprocess.run([sys.executable, "-c", HEAPS, str(tmp_path / kind), kind], check=True)
        counts[kind] = len(re.findall("<heap nr=", (tmp_path / kind).read_text()))
    assert counts["shared"] == 1 < counts["own"]
