"""Jobs in worker processes, where a process that dies costs its own job only."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.sharedctypes import Synchronized
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import cv2
from pebble import ProcessExpired, ProcessFuture, ProcessPool

from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import keep_freed_memory, usable_cores

Key = TypeVar("Key")
TICK_SECONDS = 0.5
_counter: "Synchronized[int] | None" = None  # of a worker process


def run_jobs(
    function: Callable[..., Any],
    jobs: Mapping[Key, tuple[Any, ...]],
    workers: int,
    progress: Callable[[int], None] = lambda amount: None,
    spawn: bool = False,
) -> Iterator[tuple[Key, Any]]:
    """Call `function` with the arguments of every job, and yield its key and result as each is finished.

    Jobs are started in the order given. Where a job raises an ActionRecError, or its process dies, that error is its
    result. When the generator ends, for whatever reason, no process of it is left.

    Args:
        function: of a module, so that processes can import it.
        jobs: arguments by key.
        workers: processes.
        progress: called about twice a second and after every job, with the sum of what the jobs gave `advance`.
        spawn: start processes afresh, as jobs that use torch need it.

    Raises:
        Exception: a job raised anything but an ActionRecError.
    """
    # Named, since joblib's workers have a default of their own. A fork is ready at once where a fresh process imports
    # for half a second; OpenCV and NumPy stand it, torch and macOS do not.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" and not spawn else "spawn")
    counter = context.Value("Q", 0)
    threads = max(usable_cores() // workers, 1)
    pool = ProcessPool(workers, initializer=_start, initargs=(counter, threads), context=context)
    finished: SimpleQueue[Any] = SimpleQueue()
    try:
        keys = {}
        for key, arguments in jobs.items():
            future = pool.schedule(function, args=arguments)
            keys[future] = key
            future.add_done_callback(lambda future: finished.put(future))
        while keys:
            try:
                future = finished.get(timeout=TICK_SECONDS)
            except Empty:
                progress(counter.value)
                continue
            progress(counter.value)
            key = keys.pop(future)
            yield key, _result(future, key)
    finally:
        pool.stop()
        pool.join()


def advance(amount: int = 1) -> None:
    """Count work that the job calling this has done."""
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += amount


def _result(future: "ProcessFuture[Any]", key: Any) -> Any:
    try:
        return future.result()
    except ActionRecError as error:
        return error
    except ProcessExpired as error:
        return ActionRecError(
            f"{key}: its process died (status {error.exitcode}), out of memory or broken by the file; "
            "try it again alone, or take the file out of the lists"
        )


def _start(counter: "Synchronized[int]", threads: int) -> None:
    """Make a worker ready, and keep it from taking more than its share of the cores."""
    global _counter
    _counter = counter
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded, which only a job may do
    cv2.setNumThreads(0)
    keep_freed_memory()
