"""What the values of the benchmark sets' labels mean: label file -> class indices.

One reader for each encoding; `specs.py` tells which set has which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import LabelArray
from dpseg.data.dataset import UNLABELLED
from dpseg.errors import DataError, require_extra

UNKNOWN = -2  # a label value that the set's encoding does not have

#: Thing categories that COCO announced and never released; its other 171 are the classes.
_COCO_REMOVED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_COCO_HIGHEST = 182

#: Pascal Context's 59 frequent classes among its 459, in the order of both class lists.
_CONTEXT_59 = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip


def value_table(values: Mapping[int, int], size: int, ignored: Sequence[int] = ()) -> LabelArray:
    """Make a table from label values to class indices; other values are `UNKNOWN`."""
    table = np.full(size, UNKNOWN, np.int32)
    table[list(ignored)] = UNLABELLED
    for value, index in values.items():
        table[value] = index
    return table


def _read_picture(path: Path) -> npt.NDArray[np.int64]:
    with Image.open(path, formats=["PNG"]) as picture:
        return np.asarray(picture).astype(np.int64)


def looked_up(table: LabelArray) -> Callable[[Path], LabelArray]:
    """Read label images of one channel through a table."""

    def read(path: Path) -> LabelArray:
        values = _read_picture(path)
        if values.ndim != 2:
            raise DataError(f"{path} has shape {values.shape}; a label has one channel")
        labels: LabelArray = table[values]
        return labels

    return read


def read_ade847(path: Path) -> LabelArray:
    """Read a label whose indices are spread over two channels: red in steps of ten, and green."""
    values = _read_picture(path)
    if values.ndim != 3:
        raise DataError(
            f"{path} has shape {values.shape}; ADE20K's full labels have three channels"
        )
    labels: LabelArray = _ade847_table()[values[..., 0] // 10 * 256 + values[..., 1]]
    return labels


@cache
def _ade847_table() -> LabelArray:
    """Read each class's number among all names of ADE20K, in the order of the classes."""
    indices = (Path(__file__).parent / "ade847_indices.txt").read_text(encoding="ascii").split()
    return value_table(
        {int(value): index for index, value in enumerate(indices)}, 26 * 256, range(26 * 256)
    )


def read_context59(label: tuple[tuple[int, int], list[tuple[int, Any]]]) -> LabelArray:
    """Paint regions, which are run lengths, in their order."""
    masks = require_extra("pycocotools.mask", "evaluate")
    size_hw, regions = label
    values = np.zeros(size_hw, np.int64)
    for category, runs in regions:
        values[masks.decode(runs).astype(bool)] = category
    labels: LabelArray = _CONTEXT_59_TABLE[values]
    return labels


def read_context459(path: Path) -> LabelArray:
    """Read a label that Matlab wrote, values 1 to 459."""
    matlab = require_extra("scipy.io", "evaluate")
    try:
        values = np.asarray(matlab.loadmat(path)["LabelMap"]).astype(np.int64)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path} holds no LabelMap: {error}") from error
    labels: LabelArray = _CONTEXT_459_TABLE[values]
    return labels


COCO_CATEGORIES = [c for c in range(1, _COCO_HIGHEST + 1) if c not in _COCO_REMOVED]
_CONTEXT_59_TABLE = value_table(
    {value: i for i, value in enumerate(_CONTEXT_59)}, 2**16, range(2**16)
)
_CONTEXT_459_TABLE = value_table({i + 1: i for i in range(459)}, 2**16, [0])
