"""All counts of one configuration, and the figures that come from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpseg.arrays import CountArray, IntArray
from dpseg.errors import ShapeError
from dpseg.evaluate.confusion import confusion_matrix
from dpseg.evaluate.metrics import mean_of, none_if_nan, score
from dpseg.evaluate.objects import (
    SIZE_NAMES,
    ObjectTruth,
    boundary_counts,
    boundary_iou,
    size_counts,
    size_miou,
)


@dataclass(frozen=True)
class Accumulators:
    """Counts that add up over images and processes.

    Attributes:
        confusion: by true class and predicted class, K K.
        sizes: hits, false and missed pixels by object size, S K 3.
        outlines: shared, united and true outline pixels, K 3.
    """

    confusion: CountArray
    sizes: CountArray
    outlines: CountArray

    @classmethod
    def empty(cls, classes: int) -> Accumulators:
        """Begin to count."""
        return cls(
            confusion=np.zeros((classes, classes), np.int64),
            sizes=np.zeros((len(SIZE_NAMES), classes, 3), np.int64),
            outlines=np.zeros((classes, 3), np.int64),
        )

    @classmethod
    def of_picture(cls, prediction: IntArray, truth: ObjectTruth, classes: int) -> Accumulators:
        """Count one image.

        Args:
            prediction: class indices, H W.
            truth: of the same image.
            classes: K.

        Returns:
            Its counts.

        Raises:
            ShapeError: the prediction is not of the image's size.
            DataError: an index lies outside 0..K-1.
        """
        return cls(
            confusion=confusion_matrix(prediction, truth.target, classes, ignore_index=-1),
            sizes=size_counts(prediction, truth, classes),
            outlines=boundary_counts(prediction, truth, classes),
        )

    def __add__(self, other: Accumulators) -> Accumulators:
        if self.confusion.shape != other.confusion.shape:
            raise ShapeError(
                f"counts of {len(self.confusion)} and {len(other.confusion)} classes do not add up"
            )
        return Accumulators(
            self.confusion + other.confusion,
            self.sizes + other.sizes,
            self.outlines + other.outlines,
        )

    def figures(self, unseen: Sequence[int] | None = None) -> dict[str, float]:
        """Compute every figure, each in [0, 1] or NaN.

        Args:
            unseen: indices of the classes that training did not see; None for no split.

        Returns:
            Name to figure.
        """
        scores = score(self.confusion, unseen)
        return {
            "miou": scores.miou,
            "seen_miou": scores.seen_miou,
            "unseen_miou": scores.unseen_miou,
            "harmonic_miou": scores.harmonic_miou,
            "frequency_weighted_iou": scores.frequency_weighted_iou,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            **{f"{name}_miou": value for name, value in size_miou(self.sizes).items()},
            "boundary_iou": mean_of(boundary_iou(self.outlines)),
        }

    def to_dict(
        self, names: Sequence[str], unseen: Sequence[int] | None = None
    ) -> dict[str, object]:
        """Turn the figures into what JSON can hold; NaN becomes None."""
        class_iou = score(self.confusion).class_iou
        return {
            **{name: none_if_nan(value) for name, value in self.figures(unseen).items()},
            "class_iou": {
                name: none_if_nan(value) for name, value in zip(names, class_iou, strict=True)
            },
        }
