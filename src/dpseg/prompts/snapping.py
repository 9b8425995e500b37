"""From a click to the region that it means: the connected part around it that looks alike.

The region stays within the label under the click, as what is corrected was labelled as one, and
ends where the embedding changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpseg.arrays import BoolArray, FloatArray, LabelArray
from dpseg.imaging.resize import resize_bilinear, resize_nearest
from dpseg.imaging.tiling import View
from dpseg.prompts.pooling import l2_normalize, pool_embedding

# Chosen on photos kept aside from training; docs/log/experiments.md, "Corrections".
ALIKE = 0.72  # cosine with the position under the click
FINER = 4  # cells of the region's grid along a position of the embedding


def snap_region(labels: LabelArray, embedding: FloatArray, x: int, y: int) -> BoolArray:
    """Find the region that a click means.

    Args:
        labels: of the photo, H W.
        embedding: of the whole photo, D h w.
        x: column of the photo.
        y: row of the photo.

    Returns:
        The region, with the clicked pixel, H W.
    """
    (height, width), (rows, columns) = labels.shape, embedding.shape[1:]
    positions = l2_normalize(embedding, axis=0)
    here = positions[:, int(y / height * rows), int(x / width * columns)]
    likeness = np.tensordot(here, positions, axes=1)  # h w
    grid_hw = (rows * FINER, columns * FINER)
    alike = resize_bilinear(likeness[None], grid_hw)[0] >= ALIKE
    start = int(y / height * grid_hw[0]), int(x / width * grid_hw[1])
    same = resize_nearest(labels, grid_hw) == labels[y, x]
    region = resize_nearest(_connected(alike & same, start).astype(np.int32), labels.shape) > 0
    region &= labels == labels[y, x]
    region[y, x] = True
    return region


def describe_region(
    region: BoolArray, embeddings: Sequence[FloatArray], views: Sequence[View]
) -> FloatArray:
    """Pool what a region looks like in the whole photo, and in the tile that shows most of it.

    Args:
        region: H W.
        embeddings: of each view, D h w.
        views: the whole photo, then tiles if there are any.

    Returns:
        Unit vectors, V D.
    """
    parts = [region[view.top : view.bottom, view.left : view.right] for view in views]
    shown = [0]
    if len(views) > 1:
        shown.append(1 + int(np.argmax([part.sum() for part in parts[1:]])))
    rows = [pool_embedding(embeddings[index], parts[index]) for index in shown]
    return np.stack(rows)


def _connected(allowed: BoolArray, start: tuple[int, int]) -> BoolArray:
    """Find the cells that are connected with one by sides, h w; that one is among them."""
    region = np.zeros_like(allowed)
    region[start] = True
    while True:
        grown = region.copy()
        grown[1:] |= region[:-1]
        grown[:-1] |= region[1:]
        grown[:, 1:] |= region[:, :-1]
        grown[:, :-1] |= region[:, 1:]
        grown &= allowed
        grown[start] = True
        if np.array_equal(grown, region):
            return region
        region = grown
