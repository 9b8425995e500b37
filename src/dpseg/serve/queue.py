"""The line in which requests stand for the model.

A fixed number of threads works; a bounded number of calls waits. A call that is no longer wanted
(its time is over, its client has gone) leaves the line. One that already runs cannot be stopped and
keeps its thread until it is done, so that never more calls run than there are threads.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from dpseg.errors import ServiceBusyError

T = TypeVar("T")

#: Runs from which the length of the next one is guessed.
_REMEMBERED_RUNS = 9


class OverdueError(ServiceBusyError):
    """A call was not answered in time."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Where a call stands.

    Attributes:
        running: it has a thread; otherwise it waits.
        ahead: calls that wait before it.
        seconds: since it began to run, or to wait.
        expected_seconds: what recent runs took; None before the first.
    """

    running: bool
    ahead: int
    seconds: float
    expected_seconds: float | None


@dataclass(slots=True, eq=False)
class _Job:
    ticket: str
    since: float = field(default_factory=time.monotonic)
    running: bool = False


class WorkQueue:
    """Runs calls in threads, few at a time, the others in order.

    Args:
        workers: calls that run at once.
        waiting: calls that may wait; more are refused.
        seconds: a call that has no answer after this long is given up.
        on_run: told how long each call waited and ran, in seconds.
    """

    def __init__(
        self,
        *,
        workers: int,
        waiting: int,
        seconds: float,
        on_run: Callable[[float, float], None] = lambda waited, ran: None,
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="dpseg")
        self._places = workers + waiting
        self._seconds = seconds
        self._on_run = on_run
        self._lock = threading.Lock()
        self._jobs: dict[_Job, None] = {}  # in the order in which they came
        self._runs: deque[float] = deque(maxlen=_REMEMBERED_RUNS)

    async def run(self, call: Callable[[], T], *, ticket: str = "") -> T:
        """Run a call when its turn comes.

        Args:
            call: what to run, in a thread.
            ticket: a name under which `standing` knows it meanwhile.

        Returns:
            What the call returns; what it raises is raised.

        Raises:
            ServiceBusyError: too many calls wait.
            OverdueError: the time was over before the call was.
        """
        future = self._submit(call, ticket)
        answer = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({answer}, timeout=self._seconds)
        finally:
            future.cancel()  # takes a waiting call out of the line; nothing to others
            answer.cancel()
        if not done:
            raise OverdueError(
                f"no answer within {self._seconds:g} seconds; try again, or with a smaller photo."
            )
        return answer.result()

    def standing(self, ticket: str) -> QueueStatus | None:
        """Return where a call stands; None if no such call runs or waits."""
        with self._lock:
            ahead = 0
            for job in self._jobs:
                if job.ticket == ticket:
                    expected = statistics.median(self._runs) if self._runs else None
                    seconds = time.monotonic() - job.since
                    return QueueStatus(job.running, ahead, seconds, expected)
                ahead += not job.running
        return None

    def running(self) -> int:
        """Count the calls that run."""
        with self._lock:
            return sum(job.running for job in self._jobs)

    def waiting(self) -> int:
        """Count the calls that wait."""
        with self._lock:
            return sum(not job.running for job in self._jobs)

    def close(self) -> None:
        """Take no further calls and drop those that wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, call: Callable[[], T], ticket: str) -> Future[T]:
        job = _Job(ticket)
        with self._lock:
            if len(self._jobs) >= self._places:
                raise ServiceBusyError("too many requests are waiting; try again in a moment.")
            self._jobs[job] = None
        try:
            future = self._pool.submit(self._work, job, call)
        except RuntimeError as error:  # the pool is shut down
            self._leave(job)
            raise ServiceBusyError("the service is stopping.") from error
        future.add_done_callback(lambda _: self._leave(job))
        return future

    def _work(self, job: _Job, call: Callable[[], T]) -> T:
        start = time.monotonic()
        with self._lock:
            waited, job.since, job.running = start - job.since, start, True
        try:
            return call()
        finally:
            ran = time.monotonic() - start
            with self._lock:
                self._runs.append(ran)
            self._on_run(waited, ran)

    def _leave(self, job: _Job) -> None:
        with self._lock:
            self._jobs.pop(job, None)
