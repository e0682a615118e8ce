import multiprocessing
import os

import pytest

from actionrec.system.errors import ActionRecError
from actionrec.system.parallel import advance, run_jobs


def job(value: int) -> int:
    if value == 3:
        raise ActionRecError("three is wrong")
    if value == 4:
        os._exit(7)
    if value == 5:
        raise ZeroDivisionError
    advance(value)
    return value * value


@pytest.fixture
def others() -> set:
    """Child processes of earlier tests, such as loaders that a stored exception keeps alive."""
    return set(multiprocessing.active_children())


@pytest.mark.parametrize("spawn", [False, True])
def test_every_job_has_its_result(spawn, others):
    sums = []
    results = dict(run_jobs(job, {f"job {i}": (i,) for i in range(5)}, 2, sums.append, spawn))
    assert {key: value for key, value in results.items() if isinstance(value, int)} == {
        "job 0": 0,
        "job 1": 1,
        "job 2": 4,
    }
    assert str(results["job 3"]) == "three is wrong"
    assert "job 4: its worker process died (status 7)" in str(results["job 4"])
    assert sums[-1] == 3
    assert set(multiprocessing.active_children()) <= others


def test_a_defect_stops_all(others):
    with pytest.raises(ZeroDivisionError):
        list(run_jobs(job, {i: (i,) for i in (5, 0, 1)}, 1))
    assert set(multiprocessing.active_children()) <= others


def test_no_process_outlives_a_loop_that_is_left(others):
    for _ in run_jobs(job, {i: (1,) for i in range(50)}, 2):
        break
    assert set(multiprocessing.active_children()) <= others


def test_no_jobs_are_no_trouble():
    assert list(run_jobs(job, {}, 2)) == []
