"""From an image's features and the masks of objects in it to visual prompts.

One mask gives one class-wise vector (mean over the object's positions), one vector a guidance
level, and a few token-wise vectors (cluster centres of the object's own positions). All masks of a
image are pooled at once, by matrix products; refinement runs this between two decoder passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpseg.arrays import BoolArray, FloatArray, map_arrays
from dpseg.engines.protocol import ImageFeatures
from dpseg.errors import PromptError, ShapeError
from dpseg.imaging.resize import resize_area

KMEANS_ROUNDS = 4
SUPPORT_SHARE = 0.5  # a token starts from a position at least this share as covered as the best one


@dataclass(frozen=True)
class VisualEmbedding:
    """What the prompt encoder makes of N images, pooled over each image's object.

    Attributes:
        class_wise: mean embedding of the object's positions, unit vectors, N D.
        level_wise: the same at each guidance level j, N C_j.
        token_wise: cluster centres of the object's positions, unit vectors, N P D.
    """

    class_wise: FloatArray
    level_wise: Mapping[int, FloatArray]
    token_wise: FloatArray

    def __len__(self) -> int:
        return len(self.class_wise)

    def select(self, rows: Sequence[int]) -> VisualEmbedding:
        """Keep some images, in the order given."""
        return map_arrays(self, lambda table: table[list(rows)])


def l2_normalize(vectors: npt.ArrayLike, axis: int = -1) -> FloatArray:
    """Scale vectors to length 1; a zero vector stays zero.

    Args:
        vectors: any shape.
        axis: the axis that holds a vector's components.

    Returns:
        The same shape.
    """
    array = np.asarray(vectors, np.float32)
    length = np.sqrt(np.sum(array * array, axis=axis, keepdims=True))
    out: FloatArray = array / np.maximum(length, 1e-12)
    return out


def pool_regions(features: ImageFeatures, masks: FloatArray, tokens: int = 4) -> VisualEmbedding:
    """Pool one image's features over each of N regions.

    A mask is resized by area, so that an object smaller than a position still selects that
    position.

    Args:
        features: of one image.
        masks: how much each pixel belongs to each region, in [0, 1], at any resolution, N H W;
            they cover the same frame as the features.
        tokens: P, how many cluster centres to find in each region.

    Returns:
        Unit vectors: class-wise N D, level-wise N C_j, token-wise N P D.

    Raises:
        ShapeError: `masks` is not N H W.
        PromptError: a mask is empty or has values outside [0, 1], or `tokens` is below 1.
    """
    masks = np.asarray(masks, np.float32)
    check_masks(masks)
    if tokens < 1:
        raise PromptError(f"tokens is {tokens}; at least 1 is needed")
    embedding = features.image_embedding
    dimension, height, width = embedding.shape
    positions = l2_normalize(embedding.reshape(dimension, height * width).T)  # (h w) D
    weights = _position_weights(masks, (height, width))  # N (h w)
    levels = {}
    for level, level_features in features.image_features.items():
        channels, level_h, level_w = level_features.shape
        level_weights = _position_weights(masks, (level_h, level_w))  # N (h_j w_j)
        level_positions = level_features.reshape(channels, level_h * level_w)  # C_j (h_j w_j)
        levels[level] = l2_normalize(level_weights @ level_positions.T)
    return VisualEmbedding(
        class_wise=l2_normalize(weights @ positions),
        level_wise=levels,
        token_wise=cluster_positions(positions, weights, tokens),
    )


def pool_embedding(embedding: FloatArray, mask: BoolArray) -> FloatArray:
    """Pool one vector over one region, without levels and tokens.

    Args:
        embedding: D h w.
        mask: the region over the same frame, H W.

    Returns:
        Unit vector, D.
    """
    dimension, height, width = embedding.shape
    positions = l2_normalize(embedding.reshape(dimension, height * width).T)  # (h w) D
    weights = _position_weights(mask[None].astype(np.float32), (height, width))  # 1 (h w)
    return l2_normalize(weights[0] @ positions)


def pool_by_length(features: ImageFeatures, masks: FloatArray) -> FloatArray:
    """Pool class-wise vectors of N regions in which a position counts by its embedding's length.

    Positions that show nothing clearly have short embeddings.

    Args:
        features: of one picture.
        masks: as for `pool_regions`, N H W.

    Returns:
        Unit vectors, N D.
    """
    embedding = features.image_embedding
    dimension, height, width = embedding.shape
    weights = _position_weights(np.asarray(masks, np.float32), (height, width))  # N (h w)
    return l2_normalize(weights @ embedding.reshape(dimension, height * width).T)


def check_masks(masks: FloatArray) -> None:
    """Refuse masks that cannot select anything.

    Args:
        masks: N H W.

    Raises:
        ShapeError: the array is not N H W, or a size is 0.
        PromptError: a mask is empty, or a value lies outside [0, 1].
    """
    if masks.ndim != 3 or 0 in masks.shape[1:]:
        raise ShapeError(f"masks have shape {masks.shape}; N H W with H, W ≥ 1 is needed")
    if masks.size and not (masks.min() >= 0 and masks.max() <= 1):  # also catches NaN
        raise PromptError(
            f"mask values lie in [{masks.min()}, {masks.max()}]; they must lie in [0, 1]"
        )
    empty = np.flatnonzero(~masks.any(axis=(1, 2)))
    if empty.size:
        raise PromptError(f"mask {int(empty[0])} of {len(masks)} is empty; nothing to pool")


def cluster_positions(positions: FloatArray, weights: FloatArray, tokens: int) -> FloatArray:
    """Find cluster centres among weighted unit vectors, for N weightings at once.

    Spherical k-means. It starts from the position most like the mean, then again and again from the
    position least like the ones it has: no randomness. Fewer positions than tokens repeats some.

    Args:
        positions: unit vectors, S D.
        weights: weight of each position in each of N regions, each row with a positive sum, N S.
        tokens: P.

    Returns:
        Unit vectors, N P D.
    """
    regions, (count, dimension) = len(weights), positions.shape
    supported = weights >= SUPPORT_SHARE * weights.max(axis=1, keepdims=True)  # N S
    likeness = np.where(supported, l2_normalize(weights @ positions) @ positions.T, -np.inf)  # N S
    start = likeness.argmax(axis=1)  # N
    centres = np.empty((regions, tokens, dimension), np.float32)
    nearest = np.full(weights.shape, -np.inf, np.float32)  # likeness to the nearest centre, N S
    for token in range(tokens):
        centres[:, token] = positions[start]
        np.maximum(nearest, centres[:, token] @ positions.T, out=nearest)
        start = np.where(supported, nearest, np.inf).argmin(axis=1)
    for _ in range(KMEANS_ROUNDS if tokens > 1 else 1):
        similarity = centres.reshape(-1, dimension) @ positions.T  # (N P) S
        owner = similarity.reshape(regions, tokens, count).argmax(axis=1)  # N S
        owned = owner[:, None, :] == np.arange(tokens)[None, :, None]  # N P S
        mass = owned * weights[:, None, :]
        sums = mass.reshape(regions * tokens, count) @ positions  # (N P) D
        found = mass.sum(axis=2) > 0  # N P; an empty cluster keeps its old centre
        centres = np.where(found[..., None], l2_normalize(sums).reshape(centres.shape), centres)
    return centres


def _position_weights(masks: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Compute the share of each position that each mask covers, rows summing to 1, N (h w)."""
    weights = resize_area(masks, size_hw).reshape(len(masks), size_hw[0] * size_hw[1])
    total = weights.sum(axis=1, keepdims=True)
    out: FloatArray = weights / np.maximum(total, np.finfo(np.float32).tiny)
    return out
