"""Working with visual embeddings: taking, stacking, spreading over templates, blending."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dpseg.arrays import FloatArray
from dpseg.engines.protocol import VisualEmbedding
from dpseg.errors import ShapeError
from dpseg.prompts.pooling import cluster_positions, l2_normalize


def take_rows(embedding: VisualEmbedding, rows: Sequence[int]) -> VisualEmbedding:
    """Pick pictures out of an embedding, in the order given."""
    index = np.asarray(rows, np.intp)
    return VisualEmbedding(
        class_wise=embedding.class_wise[index],
        level_wise={level: rows[index] for level, rows in embedding.level_wise.items()},
        token_wise=embedding.token_wise[index],
    )


def stack_rows(parts: Sequence[VisualEmbedding]) -> VisualEmbedding:
    """Put the pictures of several embeddings into one.

    Args:
        parts: at least one, all of one model.

    Returns:
        All their rows, in order.

    Raises:
        ShapeError: the parts come from different models; carries both shapes.
    """
    shapes = [shape_of(part) for part in parts]
    for shape in shapes[1:]:
        if shape != shapes[0]:
            raise ShapeError(f"visual embeddings of different models: {shapes[0]} and {shape}")
    return VisualEmbedding(
        class_wise=np.concatenate([part.class_wise for part in parts]),
        level_wise={
            level: np.concatenate([part.level_wise[level] for part in parts])
            for level in parts[0].level_wise
        },
        token_wise=np.concatenate([part.token_wise for part in parts]),
    )


def shape_of(embedding: VisualEmbedding) -> tuple[int, int, dict[int, int]]:
    """Tell what a model's visual embeddings look like, whatever the number of pictures.

    Returns:
        D, P, and level j to C_j.
    """
    _, tokens, dimension = embedding.token_wise.shape
    return dimension, tokens, {j: rows.shape[1] for j, rows in embedding.level_wise.items()}


def fill_templates(rows: FloatArray, templates: int) -> FloatArray:
    """Spread the vectors of n pictures over the template slots, round-robin.

    Fewer pictures than slots repeat; more than slots share one by their mean.

    Args:
        rows: one vector a picture, n C.
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
    """Bring the tokens of n pictures of one thing down to as many as one picture has.

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
