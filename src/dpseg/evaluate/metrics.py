"""Figures from one confusion matrix over a whole set.

Means run over the classes that occur in the ground truth; a class that does not occur has NaN.
Where no class at all occurs, a mean is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpseg.arrays import CountArray

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of one confusion matrix, each in [0, 1] or NaN.

    Attributes:
        miou: mean intersection over union.
        frequency_weighted_iou: the same, each class weighed by its share of the pixels.
        pixel_accuracy: share of pixels that are right.
        mean_accuracy: mean over classes of the share of their pixels that are right.
        seen_miou: mean over the seen classes; NaN without a split.
        unseen_miou: mean over the unseen classes; NaN without a split.
        harmonic_miou: harmonic mean of the last two.
        class_iou: intersection over union of each class, K.
    """

    miou: float
    frequency_weighted_iou: float
    pixel_accuracy: float
    mean_accuracy: float
    seen_miou: float
    unseen_miou: float
    harmonic_miou: float
    class_iou: tuple[float, ...]


def score(confusion: CountArray, unseen: Sequence[int] | None = None) -> Scores:
    """Compute every figure.

    Args:
        confusion: counts by true class (rows) and predicted class (columns), K K.
        unseen: indices of the classes that were unseen in training; None for no split.

    Returns:
        The figures.
    """
    iou = class_iou(confusion)
    true = confusion.sum(axis=1)  # K
    hit = np.diagonal(confusion)  # K
    present = true > 0
    total = true.sum()
    seen_miou = unseen_miou = float("nan")
    if unseen is not None:
        is_unseen = np.isin(np.arange(len(confusion)), np.asarray(unseen, np.int64))
        seen_miou, unseen_miou = mean_of(iou[~is_unseen]), mean_of(iou[is_unseen])
    return Scores(
        miou=mean_of(iou),
        frequency_weighted_iou=_share(float((iou[present] * true[present]).sum()), float(total)),
        pixel_accuracy=_share(float(hit.sum()), float(total)),
        mean_accuracy=mean_of(hit[present] / true[present]),
        seen_miou=seen_miou,
        unseen_miou=unseen_miou,
        harmonic_miou=harmonic_mean(seen_miou, unseen_miou),
        class_iou=tuple(iou.tolist()),
    )


def class_iou(confusion: CountArray) -> DoubleArray:
    """Compute the intersection over union of each class.

    Args:
        confusion: K K.

    Returns:
        K; NaN for a class without a pixel in the ground truth.
    """
    hit = np.diagonal(confusion)
    return iou_of_counts(hit, confusion.sum(axis=0) - hit, confusion.sum(axis=1) - hit)


def iou_of_counts(hit: CountArray, false: CountArray, missed: CountArray) -> DoubleArray:
    """Compute the intersection over union from true positives, false positives and false negatives.

    Args:
        hit: true positives, any shape.
        false: false positives.
        missed: false negatives.

    Returns:
        The same shape; NaN where the ground truth has nothing.
    """
    present = hit + missed > 0
    union = np.maximum(hit + false + missed, 1)
    return np.where(present, hit / union, np.nan)


def miou(confusion: CountArray) -> float:
    """Compute the mean intersection over union over the classes that occur.

    Args:
        confusion: K K.

    Returns:
        The mean, or NaN.
    """
    return mean_of(class_iou(confusion))


def mean_of(values: DoubleArray) -> float:
    """Average what is not NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def harmonic_mean(first: float, second: float) -> float:
    """Compute the harmonic mean of two figures; 0 if both are."""
    return 2 * first * second / (first + second) if first + second != 0 else 0.0


def none_if_nan(value: float) -> float | None:
    """Make a figure fit for JSON."""
    return None if np.isnan(value) else float(value)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
