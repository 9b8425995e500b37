"""What a training run tells while it runs: `log.csv`, TensorBoard's events, a bar."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dpseg.errors import CheckpointError, require_extra
from dpseg.files import atomic_write

LOG = "log.csv"
EVENTS = "tensorboard"


class TrainLogger:
    """The log of a run; a context.

    Args:
        folder: of the run.
        steps: of the whole run.
        first: steps done before; what was logged after them is dropped, as it is written again.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, steps: int, first: int) -> None:
        require_extra("tensorboard", "train")
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / LOG
        self._steps, self._first = steps, first
        _cut_log(self._path, first)
        self._events = SummaryWriter(folder / EVENTS, purge_step=first + 1)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(folder.name, total=steps, completed=first, pace="")
        self._started = time.monotonic()

    def __enter__(self) -> TrainLogger:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._events.close()

    def advance(self, step: int) -> None:
        """Move the bar to where the run is."""
        self._bar.update(self._task, completed=step, pace=f"{1 / self._pace(step):.2f} steps/s")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log a step's figures, with the time that a step takes and the minutes left.

        Raises:
            CheckpointError: the log cannot be written.
        """
        pace = self._pace(step)
        left = pace * (self._steps - step) / 60
        line = {**figures, "seconds_per_step": pace, "minutes_left": left}
        try:
            for name, value in line.items():
                self._events.add_scalar(name, value, step)
            _append(self._path, {"step": str(step)} | {n: f"{v:.7g}" for n, v in line.items()})
        except OSError as error:
            raise CheckpointError(
                f"cannot write {self._path} at step {step}: {error.strerror}; make room, then give "
                "the same command again: the run goes on from its last checkpoint"
            ) from error

    def _pace(self, step: int) -> float:
        """Tell the seconds that a step of this run takes."""
        return max(1e-9, time.monotonic() - self._started) / (step - self._first)


def _append(path: Path, line: Mapping[str, str]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(line))
        if new:
            writer.writeheader()
        writer.writerow(line)


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines after a step."""
    if not step:
        path.unlink(missing_ok=True)
    elif path.exists():
        header, *lines = path.read_bytes().splitlines(keepends=True) or [b""]
        kept = [x for x in lines if x.endswith(b"\n") and int(x.partition(b",")[0]) <= step]
        with atomic_write(path) as temporary:
            temporary.write_bytes(header + b"".join(kept))
