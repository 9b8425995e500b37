"""The random views of labelled photos that training sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import LabelArray
from dpseg.data.dataset import UNLABELLED

ImageArray = npt.NDArray[np.uint8]
CUTOUT_SIDE = 64
_GREY = 124


@dataclass(frozen=True)
class CropSettings:
    """How a training crop is drawn.

    Attributes:
        size: side of the square crop in pixels.
        scale: range of the factor by which the photo's long side is set against `size`.
        jitter: largest relative change of brightness, contrast and colour.
        grey: probability that all colour is taken away.
        cutout: probability that a square of `CUTOUT_SIDE` pixels is hidden, in every second crop.
    """

    size: int = 320
    scale: tuple[float, float] = (0.9, 2.0)
    jitter: float = 0.3
    grey: float = 0.0
    cutout: float = 0.0


def random_crop(
    image: ImageArray, label: LabelArray, settings: CropSettings, generator: np.random.Generator
) -> tuple[ImageArray, LabelArray]:
    """Scale, crop and flip a labelled photo.

    Args:
        image: RGB, H W 3.
        label: class positions, H W; negative values are special and survive.
        settings: how the crop is drawn.
        generator: random numbers.

    Returns:
        Image `size` `size` 3 and label `size` `size`; what lies outside the photo is grey and
        unlabelled.
    """
    height, width = label.shape
    size = settings.size
    low, high = np.log(settings.scale[0]), np.log(settings.scale[1])
    scale = float(np.exp(generator.uniform(low, high))) * size / max(height, width)
    new_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(image).resize(new_wh, Image.Resampling.BILINEAR)
    scaled_label = Image.fromarray(label).resize(new_wh, Image.Resampling.NEAREST)

    out_image = np.full((size, size, 3), _GREY, dtype=np.uint8)
    out_label = np.full((size, size), UNLABELLED, dtype=np.int32)
    left, left_out, columns = _place(new_wh[0], size, generator)
    top, top_out, rows = _place(new_wh[1], size, generator)
    target = (slice(top_out, top_out + rows), slice(left_out, left_out + columns))
    source = (slice(top, top + rows), slice(left, left + columns))
    out_image[target] = np.asarray(picture)[source]
    out_label[target] = np.asarray(scaled_label)[source]
    if generator.random() < 0.5:
        out_image, out_label = out_image[:, ::-1].copy(), out_label[:, ::-1].copy()
    return out_image, out_label


def _place(extent: int, size: int, generator: np.random.Generator) -> tuple[int, int, int]:
    """Choose where a photo's axis meets the crop's: start in photo, start in crop, length."""
    if extent >= size:
        return int(generator.integers(extent - size + 1)), 0, size
    return 0, int(generator.integers(size - extent + 1)), extent


def jitter_colours(
    image: ImageArray, settings: CropSettings, generator: np.random.Generator
) -> ImageArray:
    """Change brightness, contrast and colour at random, and at times take all colour away.

    Args:
        image: RGB, H W 3.
        settings: how much.
        generator: random numbers.

    Returns:
        The changed image, H W 3.
    """
    low, high = 1 - settings.jitter, 1 + settings.jitter
    brightness, contrast, saturation = generator.uniform(low, high, size=3)
    if generator.random() < settings.grey:
        saturation = 0.0
    values = image.astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + saturation * (values - grey)
    values = values.mean() + contrast * (values - values.mean())
    jittered: ImageArray = np.clip(values * brightness, 0, 255).astype(np.uint8)
    return jittered


def cutout(image: ImageArray, settings: CropSettings, generator: np.random.Generator) -> ImageArray:
    """Hide random squares of a crop, so that what is there must be told from around it.

    Args:
        image: RGB, H W 3.
        settings: how much.
        generator: random numbers.

    Returns:
        The image with grey squares, H W 3.

    Source: masked image consistency (Hoyer et al., CVPR 2023), here for labelled pixels too.
    """
    if generator.random() < 0.5:
        return image
    height, width = image.shape[:2]
    rows, columns = -(-height // CUTOUT_SIDE), -(-width // CUTOUT_SIDE)
    hidden = generator.random((rows, columns)) < settings.cutout
    mask = np.kron(hidden, np.ones((CUTOUT_SIDE, CUTOUT_SIDE), dtype=bool))[:height, :width]
    covered = image.copy()
    covered[mask] = _GREY
    return covered
