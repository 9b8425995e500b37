"""One job, and the models that workers load for it by name."""

import os
import signal
from pathlib import Path

import numpy as np

from colour_engine import ColourEngine
from dpseg import Segmenter
from dpseg.batch.job import Job
from dpseg.prompts.cache import PromptCache

JOB = Job(classes=("red", "blue"))


def colours(model: str) -> Segmenter:
    """The model that knows colours; its cache is where `DPSEG_CACHE` says."""
    return Segmenter(ColourEngine(), cache=PromptCache())


def killed_by_black(model: str) -> Segmenter:
    """A model whose process dies, as of a lack of memory, when it sees a black photo."""
    return Segmenter(_Deadly(), cache=PromptCache())


def killed_once(model: str) -> Segmenter:
    """A model whose process dies at the first black photo that any process sees."""
    return Segmenter(_Deadly(mark=Path(os.environ["DPSEG_CACHE"]) / "killed"), cache=PromptCache())


class _Deadly(ColourEngine):
    def __init__(self, mark: Path | None = None) -> None:
        super().__init__()
        self._mark = mark

    def encode_image(self, image: np.ndarray):
        if image.max() < 20 and not (self._mark and self._mark.exists()):
            if self._mark:
                self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_image(image)


def files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
