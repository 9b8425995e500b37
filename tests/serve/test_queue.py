"""The line before the model: bounded, in order, left by those who no longer want an answer."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from dpseg.errors import ServiceBusyError
from dpseg.serve.queue import OverdueError, WorkQueue


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_never_more_run_than_there_are_workers() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return 7

    async def main() -> list[int]:
        queue = WorkQueue(workers=2, waiting=20, seconds=20)
        return await asyncio.gather(*(queue.run(work) for _ in range(12)))

    assert asyncio.run(main()) == [7] * 12
    assert most == 2


def test_calls_are_served_in_order_and_know_where_they_stand() -> None:
    done: list[str] = []
    go = threading.Event()

    async def main() -> None:
        queue = WorkQueue(workers=1, waiting=2, seconds=20)

        def work(name: str) -> Callable[[], None]:
            return lambda: (go.wait(10), done.append(name))[1]

        jobs = []
        for name in "abc":
            jobs.append(asyncio.ensure_future(queue.run(work(name), ticket=name)))
            await asyncio.sleep(0)
        await until(lambda: queue.running() == 1)
        first, second, third = (queue.standing(name) for name in "abc")
        assert first is not None
        assert second is not None
        assert third is not None
        assert (first.running, second.running, third.running) == (True, False, False)
        assert (first.ahead, second.ahead, third.ahead) == (0, 0, 1)
        assert queue.standing("x") is None
        with pytest.raises(ServiceBusyError, match="too many"):
            await queue.run(work("d"))
        go.set()
        await asyncio.gather(*jobs)
        await until(lambda: queue.running() + queue.waiting() == 0)

    asyncio.run(main())
    assert done == ["a", "b", "c"]


def test_a_late_call_is_given_up_but_keeps_its_worker() -> None:
    go, ran = threading.Event(), []

    async def main() -> None:
        queue = WorkQueue(workers=1, waiting=5, seconds=0.1)
        with pytest.raises(OverdueError, match=r"0\.1 seconds"):
            await queue.run(lambda: go.wait(10))
        assert queue.running() == 1
        with pytest.raises(OverdueError):
            await queue.run(lambda: ran.append("late"))
        assert queue.waiting() == 0
        go.set()
        await until(lambda: queue.running() == 0)
        await queue.run(lambda: ran.append("again"))

    asyncio.run(main())
    assert ran == ["again"]


def test_an_unwanted_call_leaves_the_line() -> None:
    go, ran = threading.Event(), []

    async def main() -> None:
        queue = WorkQueue(workers=1, waiting=5, seconds=20)
        first = asyncio.ensure_future(queue.run(lambda: go.wait(10)))
        second = asyncio.ensure_future(queue.run(lambda: ran.append("second")))
        await until(lambda: queue.waiting() == 1 and queue.running() == 1)
        second.cancel()
        await until(lambda: queue.waiting() == 0)
        go.set()
        await first

    asyncio.run(main())
    assert ran == []


def test_errors_of_calls_are_their_own() -> None:
    def fail() -> None:
        raise KeyError("mine")

    async def main() -> None:
        queue = WorkQueue(workers=1, waiting=0, seconds=20)
        with pytest.raises(KeyError, match="mine"):
            await queue.run(fail)
        await until(lambda: queue.running() == 0)
        queue.close()
        with pytest.raises(ServiceBusyError, match="stopping"):
            await queue.run(fail)

    asyncio.run(main())
