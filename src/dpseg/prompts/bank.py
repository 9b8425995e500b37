"""A bank of visual prompts for many names, so that any word has one without an example of it.

A name in the bank gets its own row. Any other word gets a mixture of the rows whose names are
most like it in the joint space: a *prompt prior*, answered in a millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dpseg.arrays import FloatArray, concat_records, from_tensors, map_arrays, to_tensors
from dpseg.engines.protocol import Engine
from dpseg.errors import PromptError
from dpseg.prompts.array_file import read_arrays, write_arrays
from dpseg.prompts.blend import average_pictures, match_tokens
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import VisualEmbedding, l2_normalize
from dpseg.prompts.text import encode_classes
from dpseg.vocabulary import SYNONYM_MARK, ClassEntry, Vocabulary, fold

LAYOUT = "dpseg-bank-1"
NEIGHBOURS = 8  # a mixture has at most so many rows


@dataclass(frozen=True)
class PromptBank:
    """Visual prompts of N names.

    Attributes:
        encoder_key: hash of the weights that made the prompts.
        names: the N names, synonyms behind `|`.
        text_embedding: text-side joint embedding of each name, by which words find rows, N D.
        visual: N rows.
        temperature: of the softmax over cosines; lower trusts the nearest name more.
    """

    encoder_key: str
    names: tuple[str, ...]
    text_embedding: FloatArray
    visual: VisualEmbedding
    temperature: float = 0.05

    def __post_init__(self) -> None:
        count, dimension = len(self.names), self.text_embedding.shape[-1]
        shapes = {
            "text_embedding": (self.text_embedding.shape, (count, dimension)),
            "class_wise": (self.visual.class_wise.shape, (count, dimension)),
            "token_wise": (
                self.visual.token_wise.shape,
                (count, *self.visual.token_wise.shape[1:2], dimension),
            ),
            **{
                f"level_wise.{level}": (rows.shape[:1], (count,))
                for level, rows in self.visual.level_wise.items()
            },
        }
        for name, (found, expected) in shapes.items():
            if found != expected or 0 in found:
                raise PromptError(f"prompt bank: {name} has shape {found}; expected {expected}")
        if not self.temperature > 0:
            raise PromptError(f"prompt bank: temperature {self.temperature} is not above 0")

    @classmethod
    def load(cls, path: Path | str, *, encoder_key: str | None = None) -> PromptBank:
        """Read a bank from its file.

        Args:
            path: a safetensors file written by `save`.
            encoder_key: the key of the encoder that is to use it; None skips the check.

        Returns:
            The bank.

        Raises:
            PromptError: the file is missing, damaged, not a bank, or of another encoder.
        """
        arrays, metadata = read_arrays(path, layout=LAYOUT, what="prompt bank")
        try:
            bank = cls(
                encoder_key=metadata["encoder_key"],
                names=tuple(json.loads(metadata["names"])),
                text_embedding=l2_normalize(arrays["text_embedding"]),
                visual=map_arrays(from_tensors(VisualEmbedding, arrays), l2_normalize),
                temperature=float(metadata["temperature"]),
            )
        except (KeyError, ValueError) as error:
            raise PromptError(f"cannot read prompt bank {path}: {error}") from error
        bank.check_encoder(encoder_key)
        return bank

    def save(self, path: Path | str) -> None:
        """Write the bank, in half precision; the file appears whole or not at all.

        Args:
            path: where to.
        """
        metadata = {
            "encoder_key": self.encoder_key,
            "names": json.dumps(self.names, ensure_ascii=False),
            "temperature": repr(self.temperature),
        }
        arrays = {"text_embedding": self.text_embedding, **to_tensors(self.visual)}
        write_arrays(path, arrays, metadata, layout=LAYOUT)

    def check_encoder(self, encoder_key: str | None) -> None:
        """Refuse to serve another encoder than the one that made the prompts.

        Raises:
            PromptError: the keys differ.
        """
        if encoder_key is not None and encoder_key != self.encoder_key:
            raise PromptError(
                f"the prompt bank was made by encoder {self.encoder_key!r} and does not fit "
                f"{encoder_key!r}; build it again with this model"
            )

    def find(self, entry: ClassEntry) -> int | None:
        """Return the row of a class: by its name, else by a synonym; None if it has no row."""
        rows = (self._rows.get(fold(word)) for word in entry.words)
        return next((row for row in rows if row is not None), None)

    def retrieve_rows(
        self, text_embedding: FloatArray, rows: Sequence[int | None]
    ) -> VisualEmbedding:
        """Answer words whose rows are known where they have one (`find`).

        Args:
            text_embedding: joint embedding of each word, N D.
            rows: the row of each word; None retrieves a mixture.

        Returns:
            N rows of unit vectors.
        """
        nearest, weights = self._neighbours(text_embedding)  # N Q
        for word, row in enumerate(rows):
            if row is not None:
                nearest[word], weights[word] = row, 0
                weights[word, 0] = 1
        tokens = self.visual.token_wise[nearest]  # N Q P D
        matched = match_tokens(tokens[:, :1], tokens)  # N Q P D, in the order of the nearest row's
        return VisualEmbedding(
            class_wise=_mixture(weights, self.visual.class_wise[nearest]),
            level_wise={
                level: _mixture(weights, rows[nearest])
                for level, rows in self.visual.level_wise.items()
            },
            token_wise=l2_normalize(np.einsum("nq,nqpd->npd", weights, matched)),
        )

    def _neighbours(self, text_embedding: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
        """Find the rows nearest to each word, nearest first, and their shares, N Q each."""
        cosine = l2_normalize(text_embedding) @ self.text_embedding.T  # N rows
        count = min(NEIGHBOURS, len(self.names))
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosine, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        logits = np.take_along_axis(cosine, nearest, axis=1) / self.temperature
        weights = np.exp(logits - logits[:, :1])
        shares: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return nearest, shares

    @cached_property
    def _rows(self) -> dict[str, int]:
        words = [[fold(word) for word in name.split(SYNONYM_MARK)] for name in self.names]
        rows: dict[str, int] = {}
        for row, (name, *_) in enumerate(words):
            rows.setdefault(name, row)
        for row, (_, *synonyms) in enumerate(words):
            for synonym in synonyms:
                rows.setdefault(synonym, row)
        return rows


def build_bank(
    engine: Engine,
    vocabulary: Vocabulary,
    visuals: Mapping[int, VisualEmbedding],
    *,
    cache: PromptCache | None = None,
    temperature: float = PromptBank.temperature,
) -> PromptBank:
    """Make a bank of what sources of visual prompts gave.

    Args:
        engine: the model that made the prompts.
        vocabulary: the names, with synonyms.
        visuals: class index to one row an example; the examples of a name are averaged. A class
            without examples does not enter the bank.
        cache: for the text prompts.
        temperature: of the mixtures; see `PromptBank`.

    Returns:
        The bank.

    Raises:
        PromptError: there is not a single example.
    """
    indices = sorted(visuals)
    if not indices:
        raise PromptError("a prompt bank needs pictures of at least one name")
    entries = [vocabulary[index] for index in indices]
    text_embedding, _, _ = encode_classes(engine, Vocabulary(entries), cache)
    return PromptBank(
        encoder_key=engine.info.encoder_key,
        names=tuple(SYNONYM_MARK.join(entry.words) for entry in entries),
        text_embedding=l2_normalize(text_embedding.mean(axis=1)),
        visual=concat_records([average_pictures(visuals[index]) for index in indices]),
        temperature=temperature,
    )


def _mixture(weights: FloatArray, rows: FloatArray) -> FloatArray:
    """Average unit vectors by weight, to unit vectors: N Q and N Q C to N C."""
    return l2_normalize(np.einsum("nq,nqc->nc", weights, rows))
