"""A folder of files on one machine: which files, which folders for their results, which processes.

A worker process that dies (out of memory, say) takes no other file with it: the files that were in
work are tried again one by one, and only one that kills its process once more is given up.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from dpseg.batch.job import Job
from dpseg.batch.work import Outcome, Progress, Task, Worker
from dpseg.imaging.folder import PhotoFolder, no_photo
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import NameWarning

#: In the folder of results: what could not be done.
ERRORS_FILE = "errors.jsonl"

_NAME_BYTES = 240
#: Files that wait at each process, so that none stands idle.
_WAITING = 2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Load = Callable[[str], Segmenter]


def find_photos(
    given: Iterable[str], *, tell: Callable[[str], None] = lambda told: None
) -> list[Path]:
    """Resolve files, folders and globs.

    Args:
        given: each a file, a folder (its photos are taken, not those of folders in it) or a glob.
        tell: called with a line for each folder of which something is left out, and with one if
            there are names that are no text.

    Returns:
        Photos in the order given, each once; those of folders and globs by name.

    Raises:
        ImageError: a folder cannot be read, a glob matches no file, or there is no photo at all.
    """
    found: dict[Path, None] = {}
    empty: list[str] = []
    for item in given:
        if os.path.isdir(item):
            inside = PhotoFolder.read(Path(item))
            matches = inside.photos
            if left_out := inside.tell_left_out():
                tell(f"{item}: left out {left_out}.")
            if not matches:
                empty.append(item)
        elif glob.has_magic(item) and not os.path.exists(item):
            matches = sorted(Path(m) for m in _matches(item) if os.path.isfile(m))
            if not matches:
                raise no_photo(item)
        else:
            matches = [Path(item)]
        found.update(dict.fromkeys(matches))
    if not found:
        raise no_photo(", ".join(empty) or "what was given")
    for item in empty:
        tell(f"{item} holds no photo.")
    if odd := [path for path in found if not _is_text(str(path))]:
        tell(f"{len(odd)} names are not in UTF-8, such as {odd[0]}; what is written has escapes.")
    return list(found)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matches(pattern: str) -> list[str]:
    """Expand a glob; brackets in the names of folders that are there are only brackets."""
    parts = Path(pattern).parts
    literal = ""
    for number, part in enumerate(parts):
        deeper = os.path.join(literal, part)
        if not os.path.exists(deeper):
            return glob.glob(os.path.join(glob.escape(literal), *parts[number:]), recursive=True)
        literal = deeper
    return [literal]


def make_tasks(paths: Sequence[Path], out: Path) -> list[Task]:
    """Give each file a folder of its own, named like the file; a number tells namesakes apart."""
    tasks: list[Task] = []
    taken = {_spelling(ERRORS_FILE)}
    numbers: dict[str, int] = {}
    for path in paths:
        stem = name = _folder_name(path)
        spelling = _spelling(stem)
        while _spelling(name) in taken:
            numbers[spelling] = numbers.get(spelling, 1) + 1
            name = f"{stem}-{numbers[spelling]}"
        taken.add(_spelling(name))
        tasks.append(Task(path, out / name))
    return tasks


def _folder_name(path: Path) -> str:
    """Name a file's folder like the file, in a way that can only lie where it is put."""
    stem = path.stem.rstrip(". ")  # "." and ".." lead elsewhere; Windows drops such ends
    return _shortened(stem.lstrip(".") or "photo")


def _shortened(name: str) -> str:
    """Leave room for a number: file systems hold names of 255 bytes."""
    while len(os.fsencode(name)) > _NAME_BYTES:
        name = name[:-1]
    return name


def _spelling(name: str) -> str:
    """Spell names alike that some file systems take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def run_local(
    job: Job,
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    again: bool = False,
    load: Load | None = None,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Segment files on this machine.

    Args:
        job: what is asked of every file.
        tasks: files, and folders for their results.
        workers: processes; with 1 all is done in this one.
        again: segment files anew whose answer is there.
        load: gives the segmenter of a model's name; with several processes it must be importable.
            None loads it on the job's device.
        progress: told how far the file in work is; only in this process.

    Yields:
        One outcome a task, as they come; in order with one worker.

    Raises:
        CheckpointError: there is no such model.
        PromptError: an example cannot be read.
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
    warnings.simplefilter("ignore", NameWarning)  # the first process has told
    _worker = make_worker()


def _work(task: Task) -> Outcome:
    assert _worker is not None
    return _worker(task)
