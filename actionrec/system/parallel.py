"""Jobs in a pool of worker processes; a process that dies fails its own job only."""

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
from actionrec.system.hardware import disable_malloc_trim, usable_cores

Key = TypeVar("Key")
TICK_SECONDS = 0.5
_counter: "Synchronized[int] | None" = None  # set in worker processes, shared with the parent


def run_jobs(
    function: Callable[..., Any],
    jobs: Mapping[Key, tuple[Any, ...]],
    workers: int,
    progress: Callable[[int], None] = lambda amount: None,
    spawn: bool = False,
) -> Iterator[tuple[Key, Any]]:
    """Call `function` with the arguments of every job; yield the key and the result of each job when it is finished.

    Jobs start in the order given. If a job raises an ActionRecError or its process dies, the result is the error. All
    processes have ended when the generator ends, also if it ends by an exception or is closed.

    Args:
        function: a function of a module, so that worker processes can import it.
        jobs: arguments by key.
        workers: number of processes.
        progress: called about twice a second and after every job, with the total that the jobs passed to `advance`.
        spawn: start processes by spawn instead of fork; required for jobs that use torch.

    Raises:
        Exception: a job raised an exception that is no ActionRecError.
    """
    # Choose the start method explicitly, since joblib changes the default. Fork starts at once, where spawn imports for
    # half a second; fork is safe for OpenCV and NumPy, but not for torch or on macOS.
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
    """Add to the progress of `run_jobs`; called by jobs, and a no-op outside of one."""
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
            f"{key}: its worker process died (status {error.exitcode}), out of memory or crashed by the file; "
            "try this file again alone, or take it out of the lists"
        )


def _start(counter: "Synchronized[int]", threads: int) -> None:
    """Initialise a worker process, and limit its threads to its share of the cores."""
    global _counter
    _counter = counter
    os.environ["OMP_NUM_THREADS"] = str(threads)  # takes effect if a job imports torch later
    cv2.setNumThreads(0)
    disable_malloc_trim()
