"""One file after the other: what every worker does, in whichever process or machine it runs.

A worker loads the model when a file first needs it, so that a run which finds everything done
loads nothing. A file whose answer is there, under the same key, is left alone.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dpseg.batch.job import Job
from dpseg.errors import DPSegError, ImageError, MissingExtraError
from dpseg.files import hash_file
from dpseg.geo.raster import is_map
from dpseg.geo.segment_map import segment_map
from dpseg.inference.query import Query
from dpseg.segmenter import Segmenter
from dpseg.video.segment_video import segment_video
from dpseg.video.streams import is_video

RESULT_FILE = "result.json"

#: Told how much of how much of one file is done; both in the same unit.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A file, and the folder for what is found in it."""

    path: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        path: the file.
        folder: where its results are, if there are any.
        skipped: they were there already.
        error: what was wrong with the file, on one line; None if nothing was.
        fatal: the error is not the file's: no other file would fare better.
        trace: where an error arose that dpseg did not raise on purpose.
    """

    path: Path
    folder: Path
    skipped: bool = False
    error: str | None = None
    fatal: bool = False
    trace: str | None = None


class Worker:
    """Segments files.

    Args:
        job: what is asked of every file.
        key: the job's key.
        again: segment files anew whose answer is there.
        load: gives the segmenter of a model's name; None loads it on the job's device.
    """

    def __init__(
        self,
        job: Job,
        key: str,
        *,
        again: bool = False,
        load: Callable[[str], Segmenter] | None = None,
    ) -> None:
        self._job = job
        self._key = key
        self._again = again
        self._load = load

    @cached_property
    def _segmenter(self) -> Segmenter:
        model, device = self._job.model, self._job.device
        return self._load(model) if self._load else Segmenter.from_pretrained(model, device=device)

    @cached_property
    def _query(self) -> Query:
        return self._job.prepare(self._segmenter)

    def __call__(self, task: Task, progress: Progress | None = None) -> Outcome:
        """Segment one file; what goes wrong is told, not raised."""
        done = Outcome(task.path, task.folder)
        try:
            key = _key_of(task.path, self._key)
            if not self._again and _is_done(task.folder, key):
                return replace(done, skipped=True)
            self._segment(
                task, {"photo": str(task.path.absolute()), "key": key}, progress or _silent
            )
        except (ImageError, MissingExtraError) as error:
            told = _one_line(error)
            named = told if str(task.path) in told else f"{task.path}: {told}"
            return replace(done, error=named)
        except DPSegError as error:
            return replace(done, error=_one_line(error), fatal=True)
        except Exception as error:
            told = f"{task.path}: unexpected {type(error).__name__}: {_one_line(error)}"
            return replace(done, error=told, trace=traceback.format_exc())
        return done

    def _segment(self, task: Task, origin: dict[str, str], progress: Progress) -> None:
        job, only_photos = self._job, None
        if job.options.things:
            only_photos = "things are parted"
        elif self._query.own is not None:
            only_photos = "names are found"
        if only_photos and (is_video(task.path) or is_map(task.path)):
            raise ImageError(f"{task.path}: {only_photos} in photos only, not videos and maps.")
        if is_video(task.path):
            segment_video(
                self._segmenter,
                self._query,
                task.path,
                task.folder,
                smooth=job.smooth,
                overlay=job.overlay,
                settings=origin,
                progress=progress,
            )
        elif is_map(task.path):
            segment_map(
                self._query,
                task.path,
                task.folder,
                rules=job.maps,
                overlay=job.overlay,
                settings=origin,
                progress=progress,
            )
        else:
            result = self._query(task.path)
            result = replace(result, settings={**result.settings, **origin})
            result.save(task.folder, overlay=job.overlay, palette=job.palette)


def _key_of(path: Path, job_key: str) -> str:
    try:
        return hash_file(path, job_key)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder; a photo was expected.") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _is_done(folder: Path, key: str) -> bool:
    """Return whether a folder holds the answer of that key; `result.json` is its last file."""
    try:
        record = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        return record["settings"]["key"] == key and any(folder.glob("labels.*"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _silent(done: int, total: int) -> None:
    pass


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
