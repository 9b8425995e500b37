"""Resampling as matrix products: one small matrix a side resizes a whole stack of maps.

Both kinds work for any pair of sizes, up or down. Area resampling keeps the mean (for masks);
bilinear resampling has its samples at pixel centres, as `align_corners=False` elsewhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from dpseg.arrays import FloatArray, LabelArray


@lru_cache(maxsize=256)
def area_matrix(size_in: int, size_out: int) -> FloatArray:
    """Weigh each input pixel by the share of each output pixel that it covers.

    Args:
        size_in: length of the input side.
        size_out: length of the output side.

    Returns:
        Weights, size_out size_in; each row sums to 1.
    """
    edges_out = np.arange(size_out + 1) * (size_in / size_out)
    edges_in = np.arange(size_in + 1)
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    overlap = np.clip(high - low, 0, None) * (size_out / size_in)
    matrix: FloatArray = overlap.astype(np.float32)
    matrix.flags.writeable = False  # shared by every caller through the cache
    return matrix


@lru_cache(maxsize=256)
def bilinear_matrix(size_in: int, size_out: int) -> FloatArray:
    """Weigh the two input pixels nearest to each output pixel's centre.

    Args:
        size_in: length of the input side.
        size_out: length of the output side.

    Returns:
        Weights, size_out size_in; each row sums to 1.
    """
    centre = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    centre = np.clip(centre, 0, size_in - 1)
    low = np.floor(centre).astype(np.intp)
    high = np.minimum(low + 1, size_in - 1)
    share = (centre - low).astype(np.float32)
    matrix = np.zeros((size_out, size_in), np.float32)
    rows = np.arange(size_out)
    matrix[rows, low] = 1 - share
    matrix[rows, high] += share
    matrix.flags.writeable = False  # shared by every caller through the cache
    return matrix


def resize_area(maps: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Resize a stack of maps, each output pixel the mean of what it covers.

    Args:
        maps: N H W.
        size_hw: the new height and width.

    Returns:
        N h w.
    """
    height, width = size_hw
    rows = area_matrix(maps.shape[-2], height)
    columns = area_matrix(maps.shape[-1], width)
    out: FloatArray = np.matmul(rows, np.matmul(maps, columns.T))
    return out


def resize_bilinear(maps: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Resize a stack of maps by linear interpolation between pixel centres.

    Args:
        maps: N h w.
        size_hw: the new height and width.

    Returns:
        N H W.
    """
    height, width = size_hw
    rows = bilinear_matrix(maps.shape[-2], height)
    columns = bilinear_matrix(maps.shape[-1], width)
    out: FloatArray = np.matmul(np.matmul(rows, maps), columns.T)
    return out


def resize_nearest(labels: LabelArray, size_hw: tuple[int, int]) -> LabelArray:
    """Resize a label map without making new values.

    Args:
        labels: H W.
        size_hw: the new height and width.

    Returns:
        h w, each pixel the one whose part of the map its centre lies in.
    """
    if labels.shape == size_hw:
        return labels
    resized = Image.fromarray(labels).resize(size_hw[::-1], Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=np.int32)
