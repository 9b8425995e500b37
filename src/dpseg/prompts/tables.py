"""The visual prompts of K classes as arrays, and how prompts are written into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpseg.arrays import FloatArray
from dpseg.engines.protocol import VisualEmbedding
from dpseg.errors import ShapeError
from dpseg.prompts.embedding import blend, fill_templates, gather_tokens, match_tokens, shape_of


@dataclass(frozen=True, slots=True)
class VisualTables:
    """Visual prompts, zero for a class without one.

    Attributes:
        embedding: unit vectors, K M D.
        features: level j to unit vectors, K M C_j.
        tokens: unit vectors, K P D.
    """

    embedding: FloatArray
    features: Mapping[int, FloatArray]
    tokens: FloatArray

    @classmethod
    def empty(cls, classes: int, templates: int, like: VisualEmbedding) -> VisualTables:
        """Make tables of the shape that a model's prompts have, without any prompt.

        Args:
            classes: K.
            templates: M.
            like: any visual embedding of the model.
        """
        dimension, tokens, channels = shape_of(like)
        return cls(
            embedding=np.zeros((classes, templates, dimension), np.float32),
            features={
                level: np.zeros((classes, templates, size), np.float32)
                for level, size in channels.items()
            },
            tokens=np.zeros((classes, tokens, dimension), np.float32),
        )

    @classmethod
    def of_rows(cls, rows: VisualEmbedding, templates: int) -> VisualTables:
        """Make tables of one picture a class.

        Args:
            rows: K rows of unit vectors.
            templates: M; every slot gets the class's one picture.
        """
        return cls(
            embedding=np.repeat(rows.class_wise[:, None], templates, axis=1),
            features={
                level: np.repeat(table[:, None], templates, axis=1)
                for level, table in rows.level_wise.items()
            },
            tokens=rows.token_wise,
        )

    @classmethod
    def of_pictures(cls, visuals: Sequence[VisualEmbedding], templates: int) -> VisualTables:
        """Make tables of several pictures a class, spread over the template slots.

        Args:
            visuals: for each of K classes one row a picture.
            templates: M.
        """
        return cls(
            embedding=np.stack(
                [fill_templates(visual.class_wise, templates) for visual in visuals]
            ),
            features={
                level: np.stack(
                    [fill_templates(visual.level_wise[level], templates) for visual in visuals]
                )
                for level in visuals[0].level_wise
            },
            tokens=np.stack([gather_tokens(visual.token_wise) for visual in visuals]),
        )

    def blended(
        self, classes: Sequence[int], found: VisualTables, weight: float = 1.0
    ) -> VisualTables:
        """Move the prompts of N classes towards others.

        Args:
            classes: N indices.
            found: the prompts to move towards, N in place of K.
            weight: share of what was found; where nothing stood it is taken whole.

        Returns:
            New tables.

        Raises:
            ShapeError: the prompts come from another model.
        """
        self._check(found)
        index = np.asarray(classes, np.intp)
        embedding, tokens = self.embedding.copy(), self.tokens.copy()
        features = {level: table.copy() for level, table in self.features.items()}
        embedding[index] = blend(embedding[index], found.embedding, weight)
        for level, table in features.items():
            table[index] = blend(table[index], found.features[level], weight)
        slots = np.arange(tokens.shape[1]) % found.tokens.shape[1]
        anchor = found.tokens[:, slots]  # N P D
        tokens[index] = blend(match_tokens(anchor, tokens[index]), anchor, weight)
        return VisualTables(embedding, features, tokens)

    def select(self, classes: Sequence[int]) -> VisualTables:
        """Keep the prompts of some classes, in the order given."""
        index = np.asarray(classes, np.intp)
        features = {level: table[index] for level, table in self.features.items()}
        return VisualTables(self.embedding[index], features, self.tokens[index])

    def joined(self, other: VisualTables) -> VisualTables:
        """Put the tables of further classes behind these.

        Raises:
            ShapeError: the prompts come from another model.
        """
        self._check(other)
        return VisualTables(
            embedding=np.concatenate([self.embedding, other.embedding]),
            features={
                level: np.concatenate([table, other.features[level]])
                for level, table in self.features.items()
            },
            tokens=np.concatenate([self.tokens, other.tokens]),
        )

    def _check(self, found: VisualTables) -> None:
        mine, theirs = (
            (table.embedding.shape[1:], {j: f.shape[1:] for j, f in table.features.items()})
            for table in (self, found)
        )
        if mine != theirs:
            raise ShapeError(f"a visual prompt has sizes {theirs}; the other prompts have {mine}")
