"""Label maps as images: the class index of each pixel, without loss, however many classes.

Up to 255 classes an image has 8 bits, and 255 is unlabelled; above that it has 16 bits, and 65535
is unlabelled. The same numbers are used in maps and in videos.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import ImageArray, LabelArray
from dpseg.errors import DataError
from dpseg.imaging.draw import palette

#: A label image of 8 bits holds this many classes; its last index means unlabelled.
PALETTE_CLASSES = 255

_UNLABELLED_COLOUR = 235


def unlabelled_index(classes: int) -> int:
    """Return which index means unlabelled: 255, or 65535 above 255 classes."""
    return 255 if classes <= PALETTE_CLASSES else 65535


def to_indices(labels: LabelArray, classes: int) -> npt.NDArray[np.uint8 | np.uint16]:
    """Write labels as the unsigned numbers that images hold.

    Args:
        labels: -1 is unlabelled, H W.
        classes: how many there are; sets the type.

    Returns:
        uint8, or uint16 above 255 classes; H W.
    """
    unlabelled = unlabelled_index(classes)
    kind = np.uint8 if unlabelled == 255 else np.uint16
    indices: npt.NDArray[np.uint8 | np.uint16] = np.where(labels < 0, unlabelled, labels).astype(
        kind
    )
    return indices


def to_labels(indices: npt.NDArray[Any]) -> LabelArray:
    """Undo `to_indices`.

    Args:
        indices: uint8 or uint16, H W.

    Returns:
        -1 is unlabelled, H W.
    """
    unlabelled = 255 if indices.dtype == np.uint8 else 65535
    labels: LabelArray = np.where(indices == unlabelled, -1, indices.astype(np.int32))
    return labels


def colour_table(classes: int) -> ImageArray:
    """List the colours of all 256 indices of an image of 8 bits, 256 3."""
    colours = np.zeros((256, 3), np.uint8)
    colours[:classes] = palette(classes)
    colours[255] = _UNLABELLED_COLOUR
    return colours


def to_picture(labels: LabelArray, classes: int, *, with_palette: bool = False) -> Image.Image:
    """Make the image that `labels.png` holds.

    Args:
        labels: -1 is unlabelled, H W.
        classes: how many there are.
        with_palette: show colours to eyes. Pillow and GDAL read the same indices then, but OpenCV,
            skimage and imageio read colours. Above 255 classes there is none.
    """
    picture = Image.fromarray(to_indices(labels, classes))
    if with_palette and classes <= PALETTE_CLASSES:
        picture.putpalette(colour_table(classes).tobytes())
    return picture


def read_label_picture(path: Path) -> LabelArray:
    """Read a label image back.

    Args:
        path: a PNG of one channel with 8 or 16 bits.

    Returns:
        -1 is unlabelled, H W.

    Raises:
        DataError: the file is missing, damaged, or no such image.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in ("P", "L", "I;16"):
                raise DataError(f"{path} has pixels of kind {picture.mode}, not class indices.")
            return to_labels(np.asarray(picture))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a label picture: {error}.") from error
