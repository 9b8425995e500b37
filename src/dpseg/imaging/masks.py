"""Masks: how they are stored, where they end, and the mean of scores over one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from dpseg.arrays import BoolArray, FloatArray

#: Closed rings of x, y corners: the outline first, then the holes; each N 2.
Polygon = list[FloatArray]


def mean_score(mask: BoolArray, scores: FloatArray) -> float:
    """Average scores, h w, over a mask of the photo, H W."""
    region = Image.fromarray(mask.astype(np.uint8) * 255)
    size_wh = (scores.shape[1], scores.shape[0])
    share = np.asarray(region.resize(size_wh, Image.Resampling.BOX), dtype=np.float32)
    return float((scores * share).sum() / max(float(share.sum()), 1e-9))


def encode_mask(mask: BoolArray) -> dict[str, Any]:
    """Encode a mask, H W, as COCO run lengths: `size` and `counts`."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def decode_mask(runs: Mapping[str, Any]) -> BoolArray:
    """Decode what `encode_mask` gave -> H W."""
    from pycocotools import mask as coco

    mask: BoolArray = coco.decode(dict(runs)).astype(np.bool_)
    return mask


def trace_outlines(mask: BoolArray, *, level: float = 0.5) -> list[Polygon]:
    """Trace the separate regions of a mask, each as its outline and its holes.

    Args:
        mask: H W.
        level: where a ring crosses from a pixel inside to its neighbour outside, in (0, 1): 0.5 is
            half way between their centres, 1 the centre of the pixel inside.

    Returns:
        In pixels of the mask; the pixel in the first row and column covers 0..1 x 0..1.
    """
    from contourpy import FillType, contour_generator

    padded = np.pad(mask, 1).astype(np.float32)
    generator = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    regions = []
    # Padding moves a pixel's centre from (0, 0) to (1, 1); it lies at (0.5, 0.5) of the photo.
    for points, offsets in zip(*generator.filled(level, np.inf), strict=True):
        corners = np.asarray(points, np.float32) - 0.5
        regions.append([corners[a:b] for a, b in pairwise(offsets)])
    return regions


def bounding_box(mask: BoolArray) -> list[int]:
    """Return left, top, right (beyond the last column) and bottom of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
