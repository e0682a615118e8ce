import pytest
import torch

from actionrec import hardware
from actionrec.errors import ActionRecError
from actionrec.hardware import create_trainer, fast_precision, usable_cores


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
