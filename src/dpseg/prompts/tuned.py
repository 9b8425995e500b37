"""Tuned prompts: a small file in place of a new model.

Tuning moves the prompts of a few classes, text and examples together, until the frozen network
finds the classes in labelled photos (`dpseg.train.prompt_tuning`). The result is kept here: whole
rows of a `PromptSet`, in place of those that words and examples would give.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dpseg.arrays import AnyArray, PromptSet
from dpseg.errors import PromptError
from dpseg.prompts.array_file import read_arrays, write_arrays
from dpseg.vocabulary import SYNONYM_MARK, ClassEntry, Vocabulary, fold

LAYOUT = "dpseg-tuned-1"


@dataclass(frozen=True)
class TunedPrompts:
    """The prompts of N classes, as tuning left them.

    Attributes:
        encoder_key: hash of the weights that the prompts belong to.
        names: the N names, synonyms behind `|`.
        prompts: of the N classes, all with a visual prompt.
    """

    encoder_key: str
    names: tuple[str, ...]
    prompts: PromptSet[AnyArray]

    @classmethod
    def of_classes(
        cls,
        prompts: PromptSet[AnyArray],
        vocabulary: Vocabulary,
        classes: Sequence[int],
        encoder_key: str,
    ) -> TunedPrompts:
        """Take the prompts of some classes out of those of a vocabulary.

        Args:
            prompts: of the vocabulary.
            vocabulary: K classes.
            classes: N indices.
            encoder_key: of the model that made the prompts.
        """
        names = tuple(SYNONYM_MARK.join(vocabulary[index].words) for index in classes)
        return cls(encoder_key, names, prompts.select(list(classes)))

    @classmethod
    def load(cls, path: Path | str) -> TunedPrompts:
        """Read a file that `save` wrote.

        Raises:
            PromptError: the file is missing, damaged, or holds something else.
        """
        arrays, metadata = read_arrays(path, layout=LAYOUT, what="file of tuned prompts")
        try:
            names = tuple(json.loads(metadata["names"]))
            if any(len(rows) != len(names) for rows in arrays.values()):
                raise ValueError(f"there are {len(names)} names, but not so many rows")
            masks = {
                "text_token_mask": arrays["text_token_mask"] > 0,
                "visual_mask": np.ones(len(names), np.bool_),
            }
            prompts = PromptSet.from_tensors({**arrays, **masks})
            return cls(metadata["encoder_key"], names, prompts)
        except (KeyError, ValueError) as error:
            raise PromptError(f"cannot read tuned prompts {path}: {error}") from error

    def save(self, path: Path) -> None:
        """Write the prompts, in half precision; the file appears whole or not at all.

        Raises:
            PromptError: the file cannot be written.
        """
        arrays = self.prompts.to_tensors()
        del arrays["visual_mask"]
        metadata = {
            "encoder_key": self.encoder_key,
            "names": json.dumps(self.names, ensure_ascii=False),
        }
        write_arrays(path, arrays, metadata, layout=LAYOUT)

    def applied(
        self, prompts: PromptSet[AnyArray], vocabulary: Vocabulary, encoder_key: str
    ) -> PromptSet[AnyArray]:
        """Put the tuned prompts in place of those of the same classes.

        Args:
            prompts: any prompts of the same model.
            vocabulary: their classes.
            encoder_key: of that model.

        Returns:
            New prompts; the same object if they have none of the classes.

        Raises:
            PromptError: the prompts were tuned for another model.
        """
        if encoder_key != self.encoder_key:
            raise PromptError(
                f"the prompts were tuned for encoder {self.encoder_key!r} and do not fit "
                f"{encoder_key!r}; tune them again with this model"
            )
        found = {index: self._row(entry) for index, entry in enumerate(vocabulary)}
        rows = {index: row for index, row in found.items() if row is not None}
        if not rows:
            return prompts
        return prompts.replace(list(rows), self.prompts.select(list(rows.values())))

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
