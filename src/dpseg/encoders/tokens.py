"""Sentences to token ids, the same for every engine that runs the text tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from dpseg.arrays import BoolArray
from dpseg.errors import CheckpointError

MAX_TOKENS = 64
CLIP_TOKENS = 77  # that CLIP's text towers read
BATCH = 32


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The tokens of N sentences.

    Attributes:
        ids: token ids, padded, N L.
        attention: 1 for tokens, 0 for padding, N L.
        words: which tokens are words: no padding, no special tokens; N L.
    """

    ids: npt.NDArray[np.int64]
    attention: npt.NDArray[np.int64]
    words: BoolArray

    def batches(self) -> Iterator[tuple[npt.NDArray[np.intp], TokenIds]]:
        """Cut into batches of like length, so that little is padding; with the rows of each."""
        lengths = self.attention.sum(axis=1)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            cut = (rows, slice(lengths[rows[-1]]))
            yield rows, TokenIds(self.ids[cut], self.attention[cut], self.words[cut])


class SentenceTokenizer:
    """Split sentences into tokens.

    Args:
        path: a `tokenizer.json`.
        max_tokens: at most so many of a sentence are read.

    Raises:
        CheckpointError: the file is missing or damaged.
    """

    def __init__(self, path: Path, *, max_tokens: int = MAX_TOKENS) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def __call__(self, sentences: Sequence[str]) -> TokenIds:
        """Split N sentences."""
        encodings = self._tokenizer.encode_batch(list(sentences))
        size = (len(encodings), len(encodings[0].ids) if encodings else 0)  # N L, of none too

        def table(rows: list[list[int]]) -> npt.NDArray[np.int64]:
            return np.array(rows, np.int64).reshape(size)

        attention = table([e.attention_mask for e in encodings])
        special = table([e.special_tokens_mask for e in encodings])
        return TokenIds(
            ids=table([e.ids for e in encodings]),
            attention=attention,
            words=(attention == 1) & (special == 0),
        )
