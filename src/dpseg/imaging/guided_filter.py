"""Guided filter: maps that follow the edges of an image.

Within every small window a map is explained as a linear function of the image's colours, so that it
changes where they do and is even where they are. A pixel takes the mean of what the windows around
it say.
"""

from __future__ import annotations

import numpy as np

from dpseg.arrays import FloatArray

#: Rows and columns of the upper triangle of a symmetric 3 x 3 matrix, in the order it is kept in.
_ROWS, _COLUMNS = [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]
_DIAGONAL = [0, 3, 5]


def guided_filter(
    maps: FloatArray, image: FloatArray, *, radius: int, epsilon: float
) -> FloatArray:
    """Filter maps by the colours of an image.

    Args:
        maps: N h w.
        image: RGB in [0, 1], 3 h w.
        radius: of the square windows, which are 2 radius + 1 wide, in pixels.
        epsilon: variance of colours below which a window counts as even.

    Returns:
        N h w.

    Source: He, Sun and Tang, Guided Image Filtering, 2013.
    """
    mean = box_mean(image, radius)  # 3 h w
    covariance = box_mean(image[_ROWS] * image[_COLUMNS], radius) - mean[_ROWS] * mean[_COLUMNS]
    covariance[_DIAGONAL] += epsilon
    inverse = _inverse(covariance)  # 6 h w
    filtered = np.empty_like(maps)
    for number, one in enumerate(maps):  # one after the other, so that all of it stays in cache
        average, *products = box_mean(np.concatenate([one[None], one * image]), radius)
        slope = _product(inverse, np.stack(products) - average * mean)  # 3 h w
        offset = average - (slope * mean).sum(axis=0)
        *slope_mean, offset_mean = box_mean(np.concatenate([slope, offset[None]]), radius)
        filtered[number] = (np.stack(slope_mean) * image).sum(axis=0) + offset_mean
    return filtered


def box_mean(maps: FloatArray, radius: int) -> FloatArray:
    """Average over the square window around each pixel, as far as it lies in the map.

    Args:
        maps: N h w.
        radius: of the window, in pixels.

    Returns:
        N h w.
    """
    for axis in (1, 2):
        size = maps.shape[axis]
        sums = np.cumsum(maps, axis=axis)
        sums = np.pad(sums, [(1, 0) if axis == one else (0, 0) for one in range(3)])
        first = np.maximum(np.arange(size) - radius, 0)
        last = np.minimum(np.arange(size) + radius + 1, size)
        count = (last - first).astype(np.float32)
        inside = sums.take(last, axis) - sums.take(first, axis)
        maps = inside / (count[:, None] if axis == 1 else count)
    return maps


def _inverse(matrix: FloatArray) -> FloatArray:
    """Invert symmetric 3 x 3 matrices by their adjugate, 6 h w."""
    a, b, c, d, e, f = matrix
    adjugate = np.stack(
        [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    )
    inverse: FloatArray = adjugate / (a * adjugate[0] + b * adjugate[1] + c * adjugate[2])
    return inverse


def _product(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """Multiply symmetric matrices, 6 h w, with vectors, 3 h w."""
    a, b, c, d, e, f = matrix
    x, y, z = vector
    return np.stack([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z])
