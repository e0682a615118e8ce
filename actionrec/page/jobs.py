"""Predictions that browsers wait for: one computes, the others queue, and each reports how far it is."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread

from actionrec.settings.messages import is_users, one_line
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

EVERY = 0.25  # seconds between two reports
QUEUED = 8  # jobs that may wait


class Stopped(Exception):
    """A job has no browser any more that waits for it, or the server ends."""


class Job:
    """How far a prediction is: written by the thread that computes, read by the one that reports.

    Attributes:
        task: gives the result.
        begun: whether the job computes.
        stopped: whether it shall end.
    """

    task: "asyncio.Future[dict[str, Any]]"

    def __init__(self) -> None:
        self.begun = self.stopped = False
        self._done = self._total = 0

    def begin(self, total: int) -> None:
        """Set the number of ticks to come."""
        self._total = total

    def tick(self) -> None:
        """Count a step.

        Raises:
            Stopped: see the exception.
        """
        if self.stopped:
            raise Stopped
        self._done += 1

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return min(self._done / self._total, 1.0) if self._total else 0.0


class Queue:
    """Runs one job at a time, in the order of arrival."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)
        self._waiting: list[Job] = []

    def stop(self) -> None:
        """Stop all jobs at their next tick."""
        for job in self._waiting:
            job.stopped = True

    def check(self) -> None:
        """Raise ActionRecError if too many wait already."""
        if len(self._waiting) > QUEUED:
            raise ActionRecError("too many clips are waiting; try again in a minute")

    def start(self, work: Callable[[Job], dict[str, Any]], file: Path | None) -> Job:
        """Start a job in a thread as soon as those before it have ended.

        Args:
            work: the job.
            file: is removed when the job has ended, also if the browser is gone.
        """
        job = Job()

        def begin() -> dict[str, Any]:
            job.begun = True
            try:
                job.tick()
                return work(job)
            finally:
                if file:
                    file.unlink(missing_ok=True)

        self._waiting.append(job)
        job.task = asyncio.ensure_future(anyio.to_thread.run_sync(begin, limiter=self._limiter))
        job.task.add_done_callback(lambda task: self._end(task, job))
        return job

    async def report(self, job: Job) -> AsyncIterator[str]:
        """Yield lines of JSON on how far a job is, of which the last one is its result, or an `error`.

        If this generator is closed before, the job stops at its next tick.
        """
        try:
            while not job.task.done():
                ahead = 0 if job.begun else self._waiting.index(job)
                yield json.dumps({"done": job.share, "ahead": ahead}) + "\n"
                await asyncio.wait({job.task}, timeout=EVERY)
            yield json.dumps(_outcome(job.task)) + "\n"
        finally:
            job.stopped = True

    def _end(self, task: "asyncio.Future[Any]", job: Job) -> None:
        self._waiting.remove(job)
        if not task.cancelled():
            task.exception()  # so that asyncio does not complain of errors that no browser waits for


def _outcome(task: "asyncio.Future[dict[str, Any]]") -> dict[str, Any]:
    try:
        return task.result()
    except Stopped:
        return {"error": "the server has been stopped"}
    except Exception as error:
        if is_users(error):
            return {"error": one_line(error)}
        log.exception("a prediction failed")
        return {"error": "the prediction failed; the terminal of actionrec app says why"}
