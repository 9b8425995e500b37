"""Figures about objects: by their size, and at their outlines.

An object is a connected component of one class in the ground truth. All that depends on the
ground truth alone is worked out once for each image, and used for every prediction of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpseg.arrays import CountArray, IntArray
from dpseg.errors import require_extra
from dpseg.evaluate.confusion import labelled
from dpseg.evaluate.metrics import DoubleArray, iou_of_counts, mean_of

SIZE_NAMES = ("small", "medium", "large")
SIZE_LIMITS = (0.01, 0.10)  # shares of the image: small below the first, large above the second
BOUNDARY_SHARE = 0.02  # width of an outline, as a share of the image's diagonal
NOTHING = -1


@dataclass(frozen=True, slots=True)
class ObjectTruth:
    """What the ground truth of one image says about its objects.

    Attributes:
        target: class indices, `NOTHING` where nobody labelled, H W.
        sizes: class that occurs to, at each pixel, the size index of its nearest object, H W.
        outline: pixels of `target` within the outline width of another class, H W.
        outline_width: in pixels.
    """

    target: npt.NDArray[np.int32]
    sizes: dict[int, npt.NDArray[np.uint8]]
    outline: npt.NDArray[np.bool_]
    outline_width: int


def object_truth(target: IntArray, ignore_index: int = 255) -> ObjectTruth:
    """Find the objects of an image and their sizes.

    Args:
        target: class indices, H W; `ignore_index` and negative values are unlabelled.
        ignore_index: the value of pixels that nobody labelled.

    Returns:
        What the counting functions need.
    """
    ndimage = require_extra("scipy.ndimage", "evaluate")
    clean = np.where(labelled(target, ignore_index), target, NOTHING).astype(np.int32)
    sizes = {}
    for index in np.unique(clean[clean >= 0]).tolist():
        objects, _ = ndimage.label(clean == index, structure=np.ones((3, 3)))  # H W
        areas = np.bincount(objects.ravel())[1:] / clean.size
        size_of = (areas[:, None] >= np.asarray(SIZE_LIMITS)).sum(axis=1).astype(np.uint8)
        if (size_of == size_of[0]).all():
            sizes[index] = np.full(clean.shape, size_of[0], np.uint8)
            continue
        row, column = ndimage.distance_transform_edt(
            objects == 0, return_distances=False, return_indices=True
        )
        sizes[index] = size_of[objects[row, column] - 1]
    width = max(1, round(BOUNDARY_SHARE * float(np.hypot(*clean.shape))))
    return ObjectTruth(clean, sizes, _outline(clean, width), width)


def size_counts(prediction: IntArray, truth: ObjectTruth, classes: int) -> CountArray:
    """Count hits and errors by object size.

    A pixel wrongly given to a class counts against that class's nearest object in the image.
    In an image without the class it belongs to no object; plain mIoU has it.

    Args:
        prediction: class indices, H W.
        truth: of the same image.
        classes: K.

    Returns:
        True positives, false positives and false negatives, S K 3, S in `SIZE_NAMES` order.
    """
    counts = np.zeros((len(SIZE_NAMES), classes, 3), np.int64)
    for index, sizes in truth.sizes.items():
        said, true = prediction == index, truth.target == index
        kinds = (said & true, said & ~true & (truth.target != NOTHING), ~said & true)
        for kind, pixels in enumerate(kinds):
            counts[:, index, kind] = np.bincount(sizes[pixels], minlength=len(SIZE_NAMES))
    return counts


def size_miou(counts: CountArray) -> dict[str, float]:
    """Compute the mean intersection over union of the objects of each size.

    Args:
        counts: summed `size_counts`, S K 3.

    Returns:
        Size name to the mean over the classes that have such objects, or NaN.
    """
    iou = iou_of_counts(counts[..., 0], counts[..., 1], counts[..., 2])  # S K
    return {name: mean_of(row) for name, row in zip(SIZE_NAMES, iou, strict=True)}


def boundary_counts(prediction: IntArray, truth: ObjectTruth, classes: int) -> CountArray:
    """Count the outline pixels of each class: shared, and in either map.

    Args:
        prediction: class indices, H W.
        truth: of the same image.
        classes: K.

    Returns:
        Intersection, union and ground-truth pixels, K 3.

    Source: Cheng et al., Boundary IoU, CVPR 2021.
    """
    unlabelled = truth.target == NOTHING
    said = np.where(unlabelled, NOTHING, prediction).astype(np.int32)
    said_outline = _outline(said, truth.outline_width) & ~unlabelled & (said != NOTHING)
    true_outline = truth.outline & ~unlabelled
    both = said_outline & true_outline & (said == truth.target)
    shared = np.bincount(said[both], minlength=classes)
    said_count = np.bincount(said[said_outline], minlength=classes)
    true_count = np.bincount(truth.target[true_outline], minlength=classes)
    return np.stack([shared, said_count + true_count - shared, true_count], axis=1)  # K 3


def boundary_iou(counts: CountArray) -> DoubleArray:
    """Compute the intersection over union of outlines, each class.

    Args:
        counts: summed `boundary_counts`, K 3.

    Returns:
        K; NaN for a class that does not occur.
    """
    shared, union, true = counts.T
    return np.where(true > 0, shared / np.maximum(union, 1), np.nan)


def _outline(labels: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.bool_]:
    """Find the pixels within `width` of another label or of the image's edge, H W."""
    ndimage = require_extra("scipy.ndimage", "evaluate")
    window = {"size": 2 * width + 1, "mode": "constant", "cval": np.iinfo(np.int32).max}
    highest = ndimage.maximum_filter(labels, **window)
    lowest = ndimage.minimum_filter(labels, **window)
    outline: npt.NDArray[np.bool_] = (highest != labels) | (lowest != labels)
    return outline
