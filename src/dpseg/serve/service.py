"""What the routes share: the segmenter, the lines before it, and the results that it gave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from fastapi import Request

from dpseg.segmentation import Segmentation
from dpseg.segmenter import Segmenter
from dpseg.serve.corrections import Said, corrected
from dpseg.serve.metrics import Metrics
from dpseg.serve.middleware import request_id
from dpseg.serve.queue import WorkQueue
from dpseg.serve.requests import SegmentRequest
from dpseg.serve.results import Answer, ResultStore
from dpseg.serve.settings import ServeSettings

T = TypeVar("T")

#: Threads that draw, encode and explain what was found; clicks must not wait behind photos.
_DRAWING_WORKERS = 2
#: Calls that may wait for these threads.
_DRAWING_PLACES = 64


class ClientGoneError(Exception):
    """The client closed its connection before its answer was ready."""


class Service:
    """One segmenter and everything around it.

    Args:
        segmenter: whom to ask.
        settings: the bounds.
    """

    def __init__(self, segmenter: Segmenter, settings: ServeSettings) -> None:
        self.segmenter = segmenter
        self.settings = settings
        self.metrics = Metrics()
        self.results = ResultStore(settings)
        self.photos = WorkQueue(
            workers=settings.concurrency,
            waiting=settings.queue,
            seconds=settings.timeout_seconds,
            on_run=self.metrics.run,
        )
        self.drawings = WorkQueue(
            workers=_DRAWING_WORKERS, waiting=_DRAWING_PLACES, seconds=settings.timeout_seconds
        )
        self.metrics.watch(self.photos, self.results)

    async def segment(
        self,
        request: Request,
        asked: SegmentRequest,
        write: Callable[[str, Segmentation, float], T],
    ) -> T:
        """Answer a query when its turn comes, and keep the result.

        Args:
            request: whose query it is.
            asked: the query.
            write: makes the answer of the result's id, the result, and the seconds it took.

        Raises:
            DPSegError: the query cannot be answered.
            ServiceBusyError: too many wait, or it took too long.
            ClientGoneError: nobody waits for the answer any longer.
        """

        def work() -> T:
            start = time.monotonic()
            answer = asked.answer(self.segmenter, max_pixels=self.settings.max_pixels)
            seconds = time.monotonic() - start
            return write(self.results.put(answer), answer.result, seconds)

        return await _while_wanted(request, self.photos, work)

    async def correct(
        self,
        request: Request,
        key: str,
        said: Sequence[Said],
        write: Callable[[str, Segmentation, float], T],
    ) -> T:
        """Answer again with what was said of a kept result; the photo is not looked at again.

        Args:
            request: who says it.
            key: the result's id.
            said: of which places what.
            write: makes the answer of the new result's id, the result, and the seconds it took.

        Raises:
            DPSegError: what was said cannot be used.
            ResultGoneError: the result is no longer kept.
            ServiceBusyError: too many wait, or it took too long.
            ClientGoneError: nobody waits for the answer any longer.
        """
        before = self.results.get(key)

        def work() -> T:
            start = time.monotonic()
            answer = corrected(before, said)
            seconds = time.monotonic() - start
            return write(self.results.put(answer), answer.result, seconds)

        return await _while_wanted(request, self.drawings, work)

    async def draw(self, request: Request, key: str, write: Callable[[Segmentation], T]) -> T:
        """Make something of a kept result; see `make`."""
        return await self.make(request, key, lambda answer: write(answer.result))

    async def make(self, request: Request, key: str, write: Callable[[Answer], T]) -> T:
        """Make something of a kept answer.

        Args:
            request: who asks.
            key: the result's id.
            write: makes the answer.

        Raises:
            ResultGoneError: the result is no longer kept.
            ServiceBusyError: too many wait, or it took too long.
            ClientGoneError: nobody waits for the answer any longer.
        """
        answer = self.results.get(key)
        return await _while_wanted(request, self.drawings, lambda: write(answer))

    def close(self) -> None:
        """Take no further work."""
        self.photos.close()
        self.drawings.close()


async def _while_wanted(request: Request, queue: WorkQueue, call: Callable[[], T]) -> T:
    """Run a call, unless the client leaves meanwhile."""
    job = asyncio.ensure_future(queue.run(call, ticket=request_id(request.scope)))
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientGoneError
        return job.result()
    finally:
        gone.cancel()
        job.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
