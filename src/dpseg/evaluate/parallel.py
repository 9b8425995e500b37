"""Counting a set in several processes; one process runs the same code.

Each process makes its own predict (loads its own model) once, then counts one batch of photos
after the other. Counts are whole numbers that add up, so the result does not depend on who
counted what.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from rich.console import Console
from rich.progress import track

from dpseg.errors import DataError
from dpseg.evaluate.results import PartialResult, Predict, Sample, count_pictures

BATCH = 4  # photos that a process takes at a time
THREADS = "OMP_NUM_THREADS"


class Samples(Protocol):
    """Photos with labels, by number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, number: int, /) -> Sample:
        """Give one."""


@dataclass(frozen=True)
class Job:
    """A set to count, in a form that a process can be given.

    Attributes:
        predict: makes the predict, in the process that will use them.
        samples: the photos.
        configurations: how many label maps an answer has.
        classes: K.
    """

    predict: Callable[[], Predict]
    samples: Samples
    configurations: int
    classes: int


def count(
    job: Job, *, processes: int = 1, name: str = "pictures", progress: bool = False
) -> PartialResult:
    """Count every photo of a job.

    Args:
        job: what to count.
        processes: how many share the work; each holds a model of its own.
        name: heads the bar.
        progress: show a bar.

    Returns:
        The counts, equal for any number of processes.

    Raises:
        DataError: there are no photos, or `processes` is below 1.
    """
    if processes < 1:
        raise DataError(f"processes is {processes}; at least 1 is needed")
    numbers = range(len(job.samples))
    if not numbers:
        raise DataError(f"{name!r} has no labelled pictures")
    batches = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
    counted = PartialResult.nothing(job.configurations, job.classes)
    parts = _alone(job, batches) if processes == 1 else _together(job, batches, processes)
    screen = Console(stderr=True)
    for part in track(parts, name, len(batches), console=screen, disable=not progress):
        counted += part
    return counted


def _alone(job: Job, batches: Sequence[Sequence[int]]) -> Iterator[PartialResult]:
    predict = job.predict()
    for batch in batches:
        yield _count_batch(job, predict, batch)


def _together(
    job: Job, batches: Sequence[Sequence[int]], processes: int
) -> Iterator[PartialResult]:
    context = multiprocessing.get_context("spawn")  # a forked process may hang in torch's threads
    with (
        _threads(max(1, (os.cpu_count() or 1) // processes)),
        ProcessPoolExecutor(processes, context, _begin, (job,)) as pool,
    ):
        tasks = [pool.submit(_count_in_process, batch) for batch in batches]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _count_batch(job: Job, predict: Predict, batch: Sequence[int]) -> PartialResult:
    samples = ((number, job.samples[number]) for number in batch)
    return count_pictures(predict, samples, job.configurations, job.classes)


@contextmanager
def _threads(each: int) -> Iterator[None]:
    """Tell processes that begin meanwhile how many threads they may use, unless told already."""
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(each)
    try:
        yield
    finally:
        del os.environ[THREADS]


_jobs: list[Job] = []  # the one of a process that `_begin` has prepared


def _begin(job: Job) -> None:
    _jobs[:] = [job]


@cache
def _answers() -> Predict:
    """Load the model at first use, so that an error of it reaches the caller."""
    return _jobs[0].predict()


def _count_in_process(batch: Sequence[int]) -> PartialResult:
    return _count_batch(_jobs[0], _answers(), batch)
