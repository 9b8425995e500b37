"""Regions as single rings, for formats that know no holes, and rings as pixels again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dpseg.arrays import BoolArray, FloatArray


def keyhole(rings: Sequence[FloatArray]) -> FloatArray:
    """Join an outline and its holes into one ring by cuts of no width.

    A hole is cut open from its leftmost corner straight to the left: up to the next corner in that
    row all is inside. The ring of that corner reaches further to the left, so cuts make no circle.

    Args:
        rings: the outline, then the holes, as `trace_outlines` gives them; x, y corners, each N 2.

    Returns:
        One ring that covers the same pixels, N 2.
    """
    opened = [_opened(ring) for ring in rings]
    corners = np.concatenate(opened)  # N 2
    lengths = np.array([len(ring) for ring in opened])
    ends = np.cumsum(lengths)
    ring_of = np.repeat(np.arange(len(opened)), lengths)
    by_row = np.lexsort(corners.T)  # by y, then x
    rank = np.argsort(by_row)
    following = np.arange(1, len(corners) + 1)
    following[ends - 1] = ends - lengths
    # Nodes of a linked ring: one a corner, and two more a cut, which is walked there and back.
    corner_of, after = list(range(len(corners))), following.tolist()
    for hole, (first, end) in enumerate(pairwise(ends), 1):
        start = int(first + corners[first:end, 0].argmin())
        at = int(rank[start])
        while at + 1 < len(by_row) and (corners[by_row[at + 1]] == corners[start]).all():
            at += 1
        while ring_of[by_row[at]] == hole:
            at -= 1
        left = int(by_row[at])
        corner_of += [start, left]
        after += [after[start], after[left]]
        after[left], after[start] = len(after) - 2, len(after) - 1
    path, node = [corner_of[0]], after[0]
    while node != 0:
        path.append(corner_of[node])
        node = after[node]
    return corners[path]


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
