"""Tuned prompts: a small file in place of a new model.

Tuning moves the prompts of a few classes, text and pictures together, until the frozen network
finds the classes in labelled pictures (`dpseg.train.prompt_tuning`). The result is kept here: whole
rows of the prompts, in place of those that words and pictures would give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dpseg.arrays import BoolArray, FloatArray
from dpseg.errors import PromptError
from dpseg.files import atomic_write
from dpseg.prompts.tables import VisualTables
from dpseg.prompts.text import pad_tokens
from dpseg.vocabulary import SYNONYM_MARK, ClassEntry, fold

if TYPE_CHECKING:
    from dpseg.prompts.ontology import PromptOntology

LAYOUT = "dpseg-tuned-1"
LEVEL_PREFIX = "visual_features."
_Array = TypeVar("_Array", FloatArray, BoolArray)


@dataclass(frozen=True)
class TunedPrompts:
    """The prompts of N classes, as tuning left them.

    Attributes:
        encoder_key: hash of the weights that the prompts belong to.
        names: the N names, synonyms behind `|`.
        text_embedding: unit vectors, N M D.
        text_tokens: unit vectors, N L D.
        text_token_mask: N L.
        visual: the visual prompts, N rows.
    """

    encoder_key: str
    names: tuple[str, ...]
    text_embedding: FloatArray
    text_tokens: FloatArray
    text_token_mask: BoolArray
    visual: VisualTables

    @classmethod
    def of_rows(
        cls, ontology: PromptOntology, indices: list[int], encoder_key: str
    ) -> TunedPrompts:
        """Take the prompts of some classes out of an ontology.

        Args:
            ontology: the prompts.
            indices: N classes.
            encoder_key: of the model that made them.
        """
        visual = ontology.visual
        return cls(
            encoder_key=encoder_key,
            names=tuple(SYNONYM_MARK.join(ontology.vocabulary[i].words) for i in indices),
            text_embedding=ontology.text_embedding[indices],
            text_tokens=ontology.text_tokens[indices],
            text_token_mask=ontology.text_token_mask[indices],
            visual=VisualTables(
                visual.embedding[indices],
                {level: rows[indices] for level, rows in visual.features.items()},
                visual.tokens[indices],
            ),
        )

    @classmethod
    def load(cls, path: Path | str) -> TunedPrompts:
        """Read a file that `save` wrote.

        Raises:
            PromptError: the file is missing, damaged, or holds something else.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("layout") != LAYOUT:
                    raise PromptError(f"{path} holds no tuned prompts")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls._of_arrays(metadata, arrays)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise PromptError(f"cannot read tuned prompts {path}: {error}") from error

    @classmethod
    def _of_arrays(
        cls, metadata: Mapping[str, str], arrays: Mapping[str, npt.NDArray[np.generic]]
    ) -> TunedPrompts:
        floats = {name: rows.astype(np.float32) for name, rows in arrays.items()}
        names = tuple(json.loads(metadata["names"]))
        if any(len(rows) != len(names) for rows in floats.values()):
            raise ValueError(f"there are {len(names)} names, but not so many rows")
        return cls(
            encoder_key=metadata["encoder_key"],
            names=names,
            text_embedding=floats["text_embedding"],
            text_tokens=floats["text_tokens"],
            text_token_mask=floats["text_token_mask"] > 0,
            visual=VisualTables(
                embedding=floats["visual_embedding"],
                features={
                    int(name.removeprefix(LEVEL_PREFIX)): rows
                    for name, rows in floats.items()
                    if name.startswith(LEVEL_PREFIX)
                },
                tokens=floats["visual_tokens"],
            ),
        )

    def save(self, path: Path) -> None:
        """Write the prompts, in half precision; the file appears whole or not at all.

        Raises:
            PromptError: the file cannot be written.
        """
        arrays = {
            "text_embedding": self.text_embedding,
            "text_tokens": self.text_tokens,
            "text_token_mask": self.text_token_mask,
            "visual_embedding": self.visual.embedding,
            "visual_tokens": self.visual.tokens,
            **{f"{LEVEL_PREFIX}{level}": rows for level, rows in self.visual.features.items()},
        }
        metadata = {
            "layout": LAYOUT,
            "encoder_key": self.encoder_key,
            "names": json.dumps(self.names, ensure_ascii=False),
        }
        half = {name: np.ascontiguousarray(rows, np.float16) for name, rows in arrays.items()}
        try:
            with atomic_write(path) as temporary:
                temporary.write_bytes(save(half, metadata=metadata))
        except OSError as error:
            raise PromptError(f"cannot write {path}: {error.strerror}") from error

    def applied(self, ontology: PromptOntology, encoder_key: str) -> PromptOntology:
        """Put the tuned prompts in place of those of the same classes.

        Args:
            ontology: any prompts of the same model.
            encoder_key: of that model.

        Returns:
            A new ontology; the same one if it has none of the classes.

        Raises:
            PromptError: the prompts were tuned for another model.
        """
        if encoder_key != self.encoder_key:
            raise PromptError(
                f"the prompts were tuned for encoder {self.encoder_key!r} and do not fit "
                f"{encoder_key!r}; tune them again with this model"
            )
        found = {index: self._row(entry) for index, entry in enumerate(ontology.vocabulary)}
        rows = {index: row for index, row in found.items() if row is not None}
        if not rows:
            return ontology
        mine, theirs = list(rows.values()), list(rows)
        length = max(ontology.text_tokens.shape[1], self.text_tokens.shape[1])
        origins = list(ontology.origins)
        for index in theirs:
            origins[index] = "tuned"
        visual = ontology.visual
        return replace(
            ontology,
            text_embedding=_with_rows(ontology.text_embedding, theirs, self.text_embedding[mine]),
            text_tokens=_with_rows(
                pad_tokens(ontology.text_tokens, length),
                theirs,
                pad_tokens(self.text_tokens, length)[mine],
            ),
            text_token_mask=_with_rows(
                pad_tokens(ontology.text_token_mask, length),
                theirs,
                pad_tokens(self.text_token_mask, length)[mine],
            ),
            visual=VisualTables(
                _with_rows(visual.embedding, theirs, self.visual.embedding[mine]),
                {
                    level: _with_rows(table, theirs, self.visual.features[level][mine])
                    for level, table in visual.features.items()
                },
                _with_rows(visual.tokens, theirs, self.visual.tokens[mine]),
            ),
            origins=tuple(origins),
        )

    def _row(self, entry: ClassEntry) -> int | None:
        rows = (self._rows.get(fold(word)) for word in entry.words)
        return next((row for row in rows if row is not None), None)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row of each word; a name outranks a synonym."""
        rows: dict[str, int] = {}
        words = [name.split(SYNONYM_MARK) for name in self.names]
        for row, (name, *_) in enumerate(words):
            rows.setdefault(fold(name), row)
        for row, (_, *synonyms) in enumerate(words):
            for synonym in synonyms:
                rows.setdefault(fold(synonym), row)
        return rows


def _with_rows(table: _Array, indices: list[int], rows: _Array) -> _Array:
    """Copy a table with some rows replaced."""
    out = table.copy()
    out[indices] = rows
    return out
