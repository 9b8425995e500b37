"""Arithmetic of unit vectors: examples over template slots, tokens of examples, mixtures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dpseg.arrays import FloatArray
from dpseg.prompts.pooling import VisualEmbedding, cluster_positions, l2_normalize


def fill_templates(rows: FloatArray, templates: int) -> FloatArray:
    """Spread the vectors of n examples over the template slots, round-robin.

    Fewer examples than slots repeat; more than slots share one by their mean.

    Args:
        rows: one vector an example, n C.
        templates: M.

    Returns:
        Unit vectors, M C.
    """
    count = len(rows)
    if count <= templates:
        return l2_normalize(rows[np.arange(templates) % count])
    slot = np.arange(count) % templates
    return l2_normalize(np.stack([rows[slot == index].mean(axis=0) for index in range(templates)]))


def gather_tokens(token_wise: FloatArray) -> FloatArray:
    """Bring the tokens of n examples of one thing down to as many as one example has.

    Args:
        token_wise: n P D.

    Returns:
        P D.
    """
    count, tokens, dimension = token_wise.shape
    if count == 1:
        return l2_normalize(token_wise[0])
    positions = token_wise.reshape(count * tokens, dimension)  # (n P) D
    return l2_normalize(
        cluster_positions(positions, np.ones((1, len(positions)), np.float32), tokens)[0]
    )


def match_tokens(anchor: FloatArray, others: FloatArray) -> FloatArray:
    """Pick for each anchor token the most similar one among others; tokens have no order.

    Args:
        anchor: ... P D.
        others: ... Q D.

    Returns:
        ... P D.
    """
    best: npt.NDArray[np.intp] = (anchor @ np.swapaxes(others, -1, -2)).argmax(axis=-1)  # ... P
    matched: FloatArray = np.take_along_axis(others, best[..., None], axis=-2)
    return matched


def blend(old: FloatArray, new: FloatArray, weight: float) -> FloatArray:
    """Mix unit vectors: (1 - weight) of the old ones, weight of the new ones, again unit."""
    return l2_normalize((1 - weight) * old + weight * new)


def average_pictures(pictures: VisualEmbedding) -> VisualEmbedding:
    """Average the examples of one thing.

    Args:
        pictures: n rows.

    Returns:
        One row.
    """
    return VisualEmbedding(
        class_wise=fill_templates(pictures.class_wise, 1),
        level_wise={level: fill_templates(rows, 1) for level, rows in pictures.level_wise.items()},
        token_wise=gather_tokens(pictures.token_wise)[None],
    )
