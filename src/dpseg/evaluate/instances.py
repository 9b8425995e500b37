"""Figures about single things: panoptic quality, and how far counts are off.

A segment is a single thing, or all that there is of some stuff. One that was found is right if it
covers more than half of what it and a true segment of its class cover together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpseg.arrays import BoolArray, CountArray, IntArray
from dpseg.errors import ShapeError
from dpseg.evaluate.metrics import DoubleArray, mean_of

VOID = -1  # nobody knows what is there
NOTHING = 0  # no segment is there
MATCH = 0.5  # intersection over union above which a segment is found


@dataclass(frozen=True)
class Segments:
    """The segments of one image.

    Attributes:
        numbers: of each pixel's segment, from 1; `NOTHING` or `VOID` elsewhere, H W.
        classes: of each segment, N.
    """

    numbers: IntArray
    classes: IntArray

    @classmethod
    def of_masks(cls, masks: Sequence[tuple[int, BoolArray]], size_hw: tuple[int, int]) -> Segments:
        """Number masks, H W each, that do not overlap; each comes with its class."""
        numbers = np.full(size_hw, NOTHING, np.int32)
        for number, (_, mask) in enumerate(masks, start=1):
            numbers[mask] = number
        return cls(numbers, np.array([index for index, _ in masks], np.int32))


@dataclass(frozen=True)
class InstanceCounts:
    """Counts that add up over images.

    Attributes:
        matches: segments found, found wrongly, and missed, K 3.
        overlap: summed intersection over union of those found, K.
        off: summed |found - true| of single things, K.
        asked: images in which some were found or there, K.
    """

    matches: CountArray
    overlap: DoubleArray
    off: CountArray
    asked: CountArray

    @classmethod
    def empty(cls, classes: int) -> InstanceCounts:
        """Begin to count."""
        none = np.zeros(classes, np.int64)
        return cls(np.zeros((classes, 3), np.int64), np.zeros(classes), none, none)

    @classmethod
    def of_image(cls, found: Segments, true: Segments, classes: int) -> InstanceCounts:
        """Compare the segments of one image.

        Args:
            found: by a model.
            true: what is there.
            classes: K.

        Raises:
            ShapeError: the two are not of one size; carries both.

        Source: Kirillov et al., Panoptic Segmentation, CVPR 2019.
        """
        if found.numbers.shape != true.numbers.shape:
            raise ShapeError(
                f"found {found.numbers.shape} and true {true.numbers.shape} differ in size"
            )
        said, there = len(found.classes), len(true.classes)
        pairs = (true.numbers.astype(np.int64) + 1) * (said + 1) + found.numbers
        joint = np.bincount(pairs.ravel(), minlength=(there + 2) * (said + 1))
        joint = joint.reshape(there + 2, said + 1)[:, 1:]  # void, nothing, segments; P
        void, shared = joint[0], joint[2:]
        known = joint[1:].sum(axis=0)  # P
        true_area = np.bincount(true.numbers[true.numbers > 0], minlength=there + 1)[1:]
        union = true_area[:, None] + known - shared  # T P
        overlap = shared / np.maximum(union, 1)
        matched = (overlap > MATCH) & (true.classes[:, None] == found.classes)
        hit = matched.any(axis=0)
        counted = hit | ((known > 0) & (void <= known))  # not what lies mostly in the void

        def per_class(segments: IntArray) -> CountArray:
            return np.bincount(segments, minlength=classes).astype(np.int64)

        found_of, true_of = (
            per_class(found.classes[counted]),
            per_class(true.classes[true_area > 0]),
        )
        hits = per_class(found.classes[hit])
        found_overlap = np.zeros(classes)
        np.add.at(found_overlap, found.classes, (overlap * matched).sum(axis=0))
        return cls(
            matches=np.stack([hits, found_of - hits, true_of - hits], axis=1),
            overlap=found_overlap,
            off=np.abs(found_of - true_of),
            asked=((found_of > 0) | (true_of > 0)).astype(np.int64),
        )

    def __add__(self, other: InstanceCounts) -> InstanceCounts:
        return InstanceCounts(
            self.matches + other.matches,
            self.overlap + other.overlap,
            self.off + other.off,
            self.asked + other.asked,
        )

    def figures(self, things: BoolArray) -> dict[str, float]:
        """Compute every figure: qualities in [0, 1], the error in things; NaN for none.

        Args:
            things: which classes are things, K; the others are stuff.
        """
        hits, wrong, missed = self.matches.T
        there = self.matches.sum(axis=1) > 0

        def mean(values: DoubleArray, chosen: BoolArray) -> float:
            return mean_of(np.where(chosen, values, np.nan))

        segmentation = self.overlap / np.maximum(hits, 1)
        recognition = hits / np.maximum(hits + (wrong + missed) / 2, 1e-9)
        quality = segmentation * recognition
        asked = self.asked[things].sum()
        return {
            "pq": mean(quality, there),
            "sq": mean(segmentation, there),
            "rq": mean(recognition, there),
            "pq_things": mean(quality, there & things),
            "pq_stuff": mean(quality, there & ~things),
            "counting_error": float(self.off[things].sum() / asked) if asked else float("nan"),
        }
