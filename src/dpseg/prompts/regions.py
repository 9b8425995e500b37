"""Regions of images as prompts: cut the object out with some context, encode it, pool it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dpseg.arrays import FloatArray, ImageArray, concat_records
from dpseg.engines.protocol import Engine, ModelInfo
from dpseg.errors import PromptError, ShapeError
from dpseg.imaging.resize import resize_area, resize_image
from dpseg.prompts.pooling import VisualEmbedding, check_masks, pool_regions

CONTEXT = 0.25  # margin around an object's box, as a share of the box's longer side
MAX_ENLARGEMENT = 2.0  # a small crop is not blown up beyond this
MIN_CROP = 32  # pixels; below this there is nothing to see but its surroundings


def fit_picture(image: ImageArray, info: ModelInfo) -> ImageArray:
    """Resize an image to the size that the model likes, sides at multiples of its stride.

    Args:
        image: H W 3.
        info: of the model.

    Returns:
        h w 3, with nearly the same aspect.
    """
    height, width = image.shape[:2]
    scale = min(info.image_size / max(height, width), MAX_ENLARGEMENT)
    fitted_hw = [
        max(info.stride, round(side * scale / info.stride) * info.stride)
        for side in (height, width)
    ]
    if (height, width) == tuple(fitted_hw):
        return image
    return resize_image(image, (fitted_hw[0], fitted_hw[1]))


def crop_region(image: ImageArray, mask: FloatArray) -> tuple[ImageArray, FloatArray]:
    """Cut an image and a mask to the mask's box, with context.

    Args:
        image: H W 3.
        mask: values in [0, 1], over the same frame at any resolution, h w.

    Returns:
        The part of the image, and the mask over that part, at the part's resolution.

    Raises:
        PromptError: the mask is empty.
    """
    check_masks(mask[None])
    height, width = image.shape[:2]
    if mask.shape != (height, width):
        mask = np.clip(resize_area(mask[None], (height, width))[0], 0, 1)
    solid = mask >= 0.5 * mask.max()
    rows = np.flatnonzero(solid.any(axis=1))
    columns = np.flatnonzero(solid.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    margin = CONTEXT * max(bottom - top, right - left)
    top, bottom = _widened(int(top), int(bottom), margin, height)
    left, right = _widened(int(left), int(right), margin, width)
    return image[top:bottom, left:right], mask[top:bottom, left:right]


def encode_region(engine: Engine, image: ImageArray, mask: FloatArray) -> VisualEmbedding:
    """Make a visual prompt of one region.

    Args:
        engine: whose prompt encoder to use.
        image: H W 3.
        mask: the object, values in [0, 1], over the same frame, h w.

    Returns:
        One row.

    Raises:
        PromptError: the mask is empty.
    """
    part, part_mask = crop_region(image, mask)
    features = engine.encode_prompt(fit_picture(part, engine.info))
    return pool_regions(features, part_mask[None])


def crops_for(
    engine: Engine,
    samples: Iterable[tuple[ImageArray, npt.NDArray[np.integer]]],
    classes: Iterable[int],
    *,
    per_class: int = 3,
    min_area: float = 0.005,
) -> dict[int, VisualEmbedding]:
    """Make visual prompts of the first few regions of each class in labelled photos.

    Args:
        engine: whose prompt encoder to use.
        samples: images H W 3 with label maps H W of class indices; read until all is found.
        classes: the classes wanted.
        per_class: images a class.
        min_area: smaller regions, as a share of the image, are passed over.

    Returns:
        Class index to up to `per_class` rows; a class that was not found is absent.

    Raises:
        ShapeError: an image and its labels differ in size; carries both.
    """
    wanted = dict.fromkeys(classes, per_class)
    found: dict[int, list[VisualEmbedding]] = {}
    for image, label in samples:
        if image.shape[:2] != label.shape:
            raise ShapeError(f"picture {image.shape} and labels {label.shape} differ in size")
        for index in np.unique(label).tolist():
            mask = label == index
            if index not in wanted or mask.mean() < min_area:
                continue
            found.setdefault(index, []).append(
                encode_region(engine, image, mask.astype(np.float32))
            )
            wanted[index] -= 1
            if wanted[index] == 0:
                del wanted[index]
        if not wanted:
            break
    return {index: concat_records(rows) for index, rows in found.items()}


def check_frame(image: ImageArray, mask: FloatArray) -> None:
    """Refuse a mask that cannot cover the same frame as its image.

    Raises:
        PromptError: their aspects differ by more than rounding explains.
    """
    height, width = image.shape[:2]
    mask_height, mask_width = mask.shape
    slack = max(height / mask_height, width / mask_width, 1)
    if abs(height - mask_height * width / mask_width) > slack + 0.02 * height:
        raise PromptError(
            f"a mask of {mask_width} x {mask_height} pixels does not fit its picture of "
            f"{width} x {height}"
        )


def _widened(start: int, stop: int, margin: float, limit: int) -> tuple[int, int]:
    """Widen a range by a margin, to at least `MIN_CROP`, within 0..limit."""
    extra = max(margin, (MIN_CROP - (stop - start)) / 2)
    return max(0, round(start - extra)), min(limit, round(stop + extra))
