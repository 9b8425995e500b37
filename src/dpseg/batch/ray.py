"""The same job on a cluster: Ray Data hands the files to workers on any number of machines.

A worker is the one of `batch/work.py`, held by a Ray actor. Ray starts an actor that died again and
gives it the same files; those that it had finished are recognised by their key, and one that killed
it several times is given up. Files and results are paths: all machines must see the same folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dpseg.batch.job import Job
from dpseg.batch.work import Outcome, Progress, Task, Worker
from dpseg.errors import WorkerError, require_extra
from dpseg.segmenter import Segmenter

#: Files that are handed out together: fewer make more traffic, more are lost with a worker.
_BLOCK_FILES = 8
#: In a result's folder: one byte for each time that its file was begun but not ended.
_BEGUN_FILE = ".begun"
_ATTEMPTS = 3


class _RayWorker:
    """A `Worker` that takes and gives rows of Ray Data."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._worker = make_worker()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = Task(Path(os.fsdecode(row["path"])), Path(os.fsdecode(row["folder"])))
        outcome = self._attempt(task)
        return {
            "number": row["number"],
            "skipped": outcome.skipped,
            "error": os.fsencode(outcome.error or ""),
            "fatal": outcome.fatal,
            "trace": os.fsencode(outcome.trace or ""),
        }

    def _attempt(self, task: Task) -> Outcome:
        """Segment a file, unless it has killed its worker too often."""
        begun = task.folder / _BEGUN_FILE
        with suppress(OSError):  # a folder that cannot be written is the worker's to tell
            task.folder.mkdir(parents=True, exist_ok=True)
            with begun.open("ab") as file:
                attempts = file.tell()
                file.write(b".")
            if attempts >= _ATTEMPTS:
                _forget(begun)
                told = f"{task.path}: {attempts} processes died that segmented it (out of memory?)."
                return Outcome(task.path, task.folder, error=told)
        outcome = self._worker(task)
        _forget(begun)
        return outcome


def _forget(begun: Path) -> None:
    """Take back the note that a file was begun, and the folder if it holds no results."""
    with suppress(OSError):
        begun.unlink()
        begun.parent.rmdir()  # only an empty folder goes


def run_ray(
    job: Job,
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    address: str | None = None,
    again: bool = False,
    load: Callable[[str], Segmenter] | None = None,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Segment files on a Ray cluster.

    Args:
        job: what is asked of every file.
        tasks: files, and folders for their results, as all machines see them.
        workers: actors, each with a model of its own.
        address: of a running cluster, such as `ray://head:10001`; None starts Ray on this machine,
            or uses the cluster that this process or `$RAY_ADDRESS` belongs to.
        again: segment files anew whose answer is there.
        load: gives the segmenter of a model's name; must be importable on all machines. None loads
            it on the job's device.
        progress: not told of anything; here for the engines to be called alike.

    Yields:
        One outcome a task, as they come.

    Raises:
        MissingExtraError: Ray is not installed.
        CheckpointError: there is no such model.
        PromptError: an example cannot be read.
        WorkerError: there is no such cluster, or workers died again and again.
    """
    ray = require_extra("ray", "ray")
    require_extra("ray.data", "ray")
    make_worker = partial(Worker, job, job.key(), again=again, load=load)
    rows = [
        {
            "number": number,
            "path": os.fsencode(task.path.absolute()),  # bytes: names need not be text
            "folder": os.fsencode(task.folder.absolute()),
        }
        for number, task in enumerate(tasks)
    ]
    started = _connect(ray, address)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        outcomes = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _BLOCK_FILES)).map(
            _RayWorker,
            fn_constructor_kwargs={"make_worker": make_worker},
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in outcomes.iter_rows():
            yield _outcome(row, tasks[row["number"]])
    except ray.exceptions.RayError as error:
        raise WorkerError(
            f"Ray gave up: {str(error).splitlines()[0]} Run the command again to go on from here."
        ) from error
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> bool:
    """Join or start a cluster; tell whether it was done here."""
    if ray.is_initialized():
        return False
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())
        raise WorkerError(f"the Ray cluster {address!r} cannot be reached: {told}") from error
    return True


def _outcome(row: Mapping[str, Any], task: Task) -> Outcome:
    return Outcome(
        task.path,
        task.folder,
        skipped=row["skipped"],
        error=os.fsdecode(row["error"]) or None,
        fatal=row["fatal"],
        trace=os.fsdecode(row["trace"]) or None,
    )
