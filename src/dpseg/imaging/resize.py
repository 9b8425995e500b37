"""Resizing: photos by one rule, stacks of maps by matrix products.

One small matrix a side resizes a whole stack of maps, for any pair of sizes, up or down. Area
resampling keeps the mean (for masks); bilinear resampling has its samples at pixel centres, as
`align_corners=False` elsewhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray, LabelArray

#: As SED, CAT-Seg and the paper bring photos to size: the short side, at most the long one.
SQUASH_SHORT, SQUASH_LONG = 640, 2560
FILTER = Image.Resampling.BILINEAR  # by photos kept aside: bicubic costs 0.3 points (docs/log)


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


def resize_image(
    image: ImageArray | Image.Image,
    size_hw: tuple[int, int],
    *,
    box: tuple[int, int, int, int] | None = None,
) -> ImageArray:
    """Bring a photo, or a part of it, to the size at which a model looks at it.

    Args:
        image: H W 3, or the same as an image of Pillow.
        size_hw: the new height and width.
        box: left, top, right, bottom of the part in pixels; None for the whole.

    Returns:
        h w 3.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    resized = picture.resize(size_hw[::-1], FILTER, box=box, reducing_gap=2.0)
    return np.array(resized)  # a copy: Pillow's own memory is read-only, which torch minds


def squash_image(image: ImageArray, size_hw: tuple[int, int]) -> ImageArray:
    """Bring a photo to a size whatever its aspect, as SED, CAT-Seg and the paper do.

    Args:
        image: H W 3.
        size_hw: the new height and width.

    Returns:
        h w 3: first the short side is brought to 640 pixels, then both sides to the size.
    """
    height, width = image.shape[:2]
    scale = min(SQUASH_SHORT / min(height, width), SQUASH_LONG / max(height, width))
    size_wh = (round(width * scale), round(height * scale))
    resized = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BILINEAR))
    planes = resized.transpose(2, 0, 1).astype(np.float32)  # 3 H W
    square = resize_bilinear(planes, size_hw)
    return np.ascontiguousarray(square.round().astype(np.uint8).transpose(1, 2, 0))
