"""A folder of files on one machine: which files, which folders for their results, which processes.

A worker process that dies (out of memory, say) takes no other file with it: the files that were in
work are tried again one by one, and only one that kills its process once more is given up.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from dpseg.batch.job import Job
from dpseg.batch.work import Outcome, Progress, Task, Worker, load_model
from dpseg.errors import ImageError
from dpseg.imaging.photo import SUFFIXES
from dpseg.segmenter import Segmenter

#: Files that wait at each process, so that none stands idle.
_WAITING = 2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Load = Callable[[str], Segmenter]


def find_photos(given: Iterable[str]) -> list[Path]:
    """Resolve files, folders and globs.

    Args:
        given: each a file, a folder (its photos are taken, not those of folders in it) or a glob.

    Returns:
        Photos in the order given, each once; those of folders and globs by name.

    Raises:
        ImageError: a folder or glob holds no photo.
    """
    found: dict[Path, None] = {}
    for item in given:
        path = Path(item)
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif glob.has_magic(item) and not path.exists():
            matches = sorted(Path(match) for match in glob.glob(item, recursive=True))
            matches = [match for match in matches if match.is_file()]
        else:
            matches = [path]
        if not matches:
            raise ImageError(f"{item} holds no photo ({', '.join(sorted(SUFFIXES))}).")
        found.update(dict.fromkeys(matches))
    return list(found)


def make_tasks(paths: Sequence[Path], out: Path) -> list[Task]:
    """Give each file a folder of its own, named like the file; a number tells namesakes apart."""
    tasks: list[Task] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 2
        while name.casefold() in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name.casefold())
        tasks.append(Task(path, out / name))
    return tasks


def run_local(
    job: Job,
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    again: bool = False,
    load: Load = load_model,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Segment files on this machine.

    Args:
        job: what is asked of every file.
        tasks: files, and folders for their results.
        workers: processes; with 1 all is done in this one.
        again: segment files anew whose answer is there.
        load: gives the segmenter of a model's name; with several processes it must be importable.
        progress: told how far the file in work is; only in this process.

    Yields:
        One outcome a task, as they come; in order with one worker.

    Raises:
        CheckpointError: there is no such model.
        PromptError: an example picture cannot be read.
    """
    make_worker = partial(Worker, job, job.key(), again=again, load=load)
    if workers == 1:
        worker = make_worker()
        for task in tasks:
            yield worker(task, progress)
        return
    with _threads_of_each(workers):
        in_work: dict[Task, None] = {}
        waiting = iter(tasks)
        while True:
            with _pool(make_worker, workers) as pool:
                try:
                    yield from _feed(pool, waiting, in_work, limit=workers * _WAITING)
                    return
                except BrokenProcessPool:
                    suspects = list(in_work)
                    in_work.clear()
            for task in suspects:
                yield _alone(make_worker, task)


def _feed(
    pool: ProcessPoolExecutor, waiting: Iterator[Task], in_work: dict[Task, None], *, limit: int
) -> Iterator[Outcome]:
    """Keep the pool busy; `in_work` always says which tasks were taken but not told of."""
    task_of: dict[Future[Outcome], Task] = {}
    while True:
        for task in islice(waiting, limit - len(in_work)):
            in_work[task] = None
            task_of[pool.submit(_work, task)] = task
        if not task_of:
            return
        for future in wait(task_of, return_when=FIRST_COMPLETED).done:
            outcome = future.result()
            del in_work[task_of.pop(future)]
            yield outcome


def _alone(make_worker: Callable[[], Worker], task: Task) -> Outcome:
    """Try a task in a process of its own."""
    with _pool(make_worker, 1) as pool:
        try:
            return pool.submit(_work, task).result()
        except BrokenProcessPool:
            told = f"{task.path}: the process died that segmented it (out of memory?)."
            return Outcome(task.path, task.folder, error=told)


@contextmanager
def _pool(make_worker: Callable[[], Worker], processes: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(make_worker,),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _threads_of_each(workers: int) -> Iterator[None]:
    """Share the processors among the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    share = str(max(1, (os.cpu_count() or 1) // workers))
    os.environ.update({name: value or share for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


_worker: Worker | None = None


def _start(make_worker: Callable[[], Worker]) -> None:
    """Make this process's worker; it lives as long as the process."""
    global _worker
    _worker = make_worker()


def _work(task: Task) -> Outcome:
    assert _worker is not None
    return _worker(task)
