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
from dpseg.inference.encoded_photo import EncodedPhoto
from dpseg.inference.query import Query
from dpseg.segmentation import Segmentation
from dpseg.serve.settings import ServeSettings


class ResultGoneError(DPSegError):
    """No result is kept under that id, or no longer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and what it takes to answer again with corrections.

    Attributes:
        result: what was found.
        query: what was asked; of names that the model found itself, those of the result.
        encoded: the photo as the model saw it.
    """

    result: Segmentation
    query: Query
    encoded: EncodedPhoto

    @classmethod
    def of(cls, query: Query, encoded: EncodedPhoto) -> Answer:
        """Ask."""
        result = query(encoded)
        return cls(result, query if query.own is None else query.only(result.classes), encoded)


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    arrays: dict[int, int]
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

    def put(self, answer: Answer) -> str:
        """Keep an answer; older ones go if there is no room. The newest is always kept.

        Returns:
            Its id.
        """
        key = secrets.token_urlsafe(16)
        kept = _Kept(answer, memory_of(answer), self._clock() + self._settings.kept_seconds)
        with self._lock:
            self._kept[key] = kept
            self._drop()
        return key

    def get(self, key: str) -> Answer:
        """Find an answer.

        Raises:
            ResultGoneError: it is not, or no longer, kept.
        """
        with self._lock:
            self._drop()
            if key not in self._kept:
                raise ResultGoneError("this result is no longer kept; segment the photo again.")
            self._kept.move_to_end(key)
            return self._kept[key].answer

    def nbytes(self) -> int:
        """Sum the memory of what is kept, in bytes."""
        with self._lock:
            return self._total()

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self) -> None:
        """Drop what is too old, then the least used until the rest fits."""
        now = self._clock()
        for key in [key for key, kept in self._kept.items() if kept.until < now]:
            del self._kept[key]
        most = self._settings.kept_megabytes * 1e6
        while len(self._kept) > 1 and (
            len(self._kept) > self._settings.kept_results or self._total() > most
        ):
            self._kept.popitem(last=False)

    def _total(self) -> int:
        """Sum the bytes of what is kept; what corrected answers share counts once."""
        arrays: dict[int, int] = {}
        for kept in self._kept.values():
            arrays |= kept.arrays
        return sum(arrays.values())


def memory_of(answer: Answer) -> dict[int, int]:
    """Count the bytes of an answer's arrays, by their identity."""
    result = answer.result
    arrays: list[npt.NDArray[Any]] = [result.photo, result.labels, result.scores]
    if evidence := result.evidence:
        prompts = evidence.prompts
        arrays += [evidence.scores, *evidence.image_embeddings, *prompts.visual_features.values()]
        arrays += [prompts.text_embedding, prompts.visual_embedding]
        arrays += [prompts.text_tokens, prompts.visual_tokens]
    arrays += [one.crop for one in result.instances or ()]
    arrays += answer.encoded.images
    for features in answer.encoded.features:
        arrays += [features.image_embedding, *features.image_features.values()]
    said = () if answer.query.corrections is None else answer.query.corrections.items
    arrays += [one.region for one in said if one.region is not None]
    return {id(array): array.nbytes for array in arrays}
