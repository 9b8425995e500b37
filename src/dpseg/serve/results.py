"""Results that are kept for a while, so that they can be drawn, downloaded and explained."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dpseg.errors import DPSegError
from dpseg.segmentation import Segmentation
from dpseg.serve.settings import ServeSettings


class ResultGoneError(DPSegError):
    """No result is kept under that id, or no longer."""


@dataclass(frozen=True, slots=True)
class _Kept:
    result: Segmentation
    nbytes: int
    until: float


class ResultStore:
    """The latest results, bounded in number, memory and age.

    Ids cannot be guessed: whoever knows one may see the result.

    Args:
        settings: the bounds.
        clock: tells the time in seconds.
    """

    def __init__(
        self, settings: ServeSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # oldest use first

    def put(self, result: Segmentation) -> str:
        """Keep a result; older ones go if there is no room. The newest is always kept.

        Returns:
            Its id.
        """
        key = secrets.token_urlsafe(16)
        kept = _Kept(result, memory_of(result), self._clock() + self._settings.kept_seconds)
        with self._lock:
            self._kept[key] = kept
            self._drop()
        return key

    def get(self, key: str) -> Segmentation:
        """Find a result.

        Raises:
            ResultGoneError: it is not, or no longer, kept.
        """
        with self._lock:
            self._drop()
            if key not in self._kept:
                raise ResultGoneError("this result is no longer kept; segment the photo again.")
            self._kept.move_to_end(key)
            return self._kept[key].result

    def nbytes(self) -> int:
        """Sum the memory of what is kept, in bytes."""
        with self._lock:
            return sum(kept.nbytes for kept in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self) -> None:
        """Drop what is too old, then the least used until the rest fits."""
        now = self._clock()
        for key in [key for key, kept in self._kept.items() if kept.until < now]:
            del self._kept[key]
        total = sum(kept.nbytes for kept in self._kept.values())
        most = self._settings.kept_megabytes * 1e6
        while len(self._kept) > 1 and (
            len(self._kept) > self._settings.kept_results or total > most
        ):
            total -= self._kept.popitem(last=False)[1].nbytes


def memory_of(result: Segmentation) -> int:
    """Count the bytes of a result's arrays."""
    arrays: list[npt.NDArray[Any]] = [result.photo, result.labels, result.scores]
    if evidence := result.evidence:
        prompts = evidence.prompts
        arrays += [evidence.scores, *evidence.image_embeddings, *prompts.visual_features.values()]
        arrays += [prompts.text_embedding, prompts.visual_embedding]
        arrays += [prompts.text_tokens, prompts.visual_tokens]
    arrays += [one.crop for one in result.instances or ()]
    return sum(array.nbytes for array in arrays)
