"""Things cut out of one photo and pasted into another.

A set of single things on plain ground shows names that no other set has, but never among other
things. Pasted at random, they stand before all kinds of ground, and at times before a blurred one,
as behind a lens of short focus: what stands out is the thing, not what lies around it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from dpseg.arrays import ImageArray, LabelArray
from dpseg.data.dataset import UNLABELLED, Sample

SIDES = (0.25, 0.9)  # of the crop: the pasted thing's long side
OUTSIDE = 0.2  # of the thing, at most, may lie beyond the crop's border
SOFTENING = 1.0  # standard deviation of the mask's edge in pixels
BLURRED = 0.3  # probability that the photo behind is out of focus
BLUR = (1.5, 5.0)  # its standard deviation in pixels


def paste_thing(
    image: ImageArray, cutout: Sample, generator: np.random.Generator
) -> tuple[ImageArray, LabelArray]:
    """Paste the labelled part of a photo into a crop, at a random place and size.

    Args:
        image: RGB, H W 3.
        cutout: photo of a thing; what has a class in its label is cut out.
        generator: random numbers.

    Returns:
        The crop with the thing, H W 3, and the thing's label, -1 around it, H W.
    """
    height, width = image.shape[:2]
    label, thing = _cut_out(cutout)
    low, high = np.log(SIDES[0]), np.log(SIDES[1])
    scale = np.exp(generator.uniform(low, high)) * max(height, width) / max(label.shape)
    new_wh = tuple(max(1, round(extent * scale)) for extent in label.shape[::-1])
    flipped = generator.random() < 0.5
    blur = float(generator.uniform(*BLUR)) if generator.random() < BLURRED else 0.0
    top = _place(new_wh[1], height, generator)
    left = _place(new_wh[0], width, generator)

    scaled_label = np.asarray(Image.fromarray(label).resize(new_wh, Image.Resampling.NEAREST))
    scaled_thing = np.asarray(Image.fromarray(thing).resize(new_wh, Image.Resampling.BILINEAR))
    if flipped:
        scaled_label, scaled_thing = scaled_label[:, ::-1], scaled_thing[:, ::-1]
    rows = slice(max(top, 0), min(top + new_wh[1], height))
    columns = slice(max(left, 0), min(left + new_wh[0], width))
    source = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    pasted_label = np.full((height, width), UNLABELLED, np.int32)
    pasted_label[rows, columns] = scaled_label[source]
    pixels = np.zeros_like(image)
    pixels[rows, columns] = scaled_thing[source]
    behind = Image.fromarray(image).filter(ImageFilter.GaussianBlur(blur))
    mask = Image.fromarray(((pasted_label >= 0) * 255).astype(np.uint8))
    soft = mask.filter(ImageFilter.GaussianBlur(SOFTENING))
    pasted: ImageArray = np.array(Image.composite(Image.fromarray(pixels), behind, soft))
    return pasted, pasted_label


def _cut_out(cutout: Sample) -> tuple[LabelArray, ImageArray]:
    """Cut a photo and its label to the box of what has a class."""
    there = cutout.label >= 0
    rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return np.where(there, cutout.label, UNLABELLED)[box], cutout.image[box]


def _place(extent: int, limit: int, generator: np.random.Generator) -> int:
    """Choose where a thing begins, so that little of it lies outside."""
    slack = OUTSIDE * extent
    low, high = sorted((-slack, limit - extent + slack))
    return round(generator.uniform(low, high))
