"""Regions as single rings, for formats that know no holes, and rings as pixels again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dpseg.arrays import BoolArray, FloatArray


def keyhole(rings: Sequence[FloatArray]) -> FloatArray:
    """Join an outline and its holes into one ring by cuts of no width.

    Args:
        rings: the outline, then the holes; x, y corners, each N 2.

    Returns:
        One ring that covers the same pixels, N 2.
    """
    path = _opened(rings[0])
    for hole in map(_opened, rings[1:]):
        distance = np.abs(path[:, None] - hole).sum(axis=2)  # path hole
        at, start = np.unravel_index(distance.argmin(), distance.shape)
        around = np.roll(hole, -int(start), axis=0)
        path = np.concatenate([path[: at + 1], around, around[:1], path[at:]])
    return path


def fill(rings: Sequence[npt.NDArray[np.floating]], size_hw: tuple[int, int]) -> BoolArray:
    """Find the pixels inside any of some rings.

    Args:
        rings: x, y corners in pixels, each N 2.
        size_hw: of the mask.

    Returns:
        H W.
    """
    from pycocotools import mask as coco

    if not rings:
        return np.zeros(size_hw, np.bool_)
    encoded = coco.frPyObjects([ring.ravel().tolist() for ring in rings], *size_hw)
    mask: BoolArray = coco.decode(coco.merge(encoded)).astype(np.bool_)
    return mask


def _opened(ring: FloatArray) -> FloatArray:
    """Drop a last corner that repeats the first."""
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring
