"""Counting: which class was predicted where which class was true.

Counts are whole numbers that add up, over images and over processes, in any order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dpseg.arrays import CountArray, IntArray
from dpseg.errors import DataError, ShapeError


def confusion_matrix(
    prediction: IntArray, target: IntArray, classes: int, ignore_index: int = 255
) -> CountArray:
    """Count pixels by true class (rows) and predicted class (columns).

    Args:
        prediction: class indices, H W.
        target: class indices, H W; `ignore_index` and negative values are left out.
        classes: K.
        ignore_index: the value of pixels that nobody labelled.

    Returns:
        Counts, K K.

    Raises:
        ShapeError: the two maps differ in size; carries both.
        DataError: a counted pixel has an index outside 0..K-1.
    """
    if prediction.shape != target.shape:
        raise ShapeError(f"prediction {prediction.shape} and target {target.shape} differ in size")
    counted = labelled(target, ignore_index)
    said = prediction[counted].astype(np.int64)
    true = target[counted].astype(np.int64)
    for name, values in (("prediction", said), ("target", true)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise DataError(
                f"{name} has values in {values.min()}..{values.max()}; with {classes} classes they "
                f"must lie in 0..{classes - 1} (ignored target value: {ignore_index})"
            )
    counts = np.bincount(true * classes + said, minlength=classes * classes)
    return counts.reshape(classes, classes)  # K K


def labelled(target: IntArray, ignore_index: int) -> npt.NDArray[np.bool_]:
    """Return which pixels count.

    Args:
        target: class indices, any shape.
        ignore_index: the value of pixels that nobody labelled, besides negative ones.

    Returns:
        True where there is a class, the same shape.
    """
    counted: npt.NDArray[np.bool_] = (target != ignore_index) & (target >= 0)
    return counted
