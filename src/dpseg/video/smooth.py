"""Calmer labels from frame to frame.

Labels flicker where two names score nearly the same and noise decides. Smoothing averages scores
over time. Where the averaged scores say something else than the frame's own, they decide;
everywhere else the frame's labels stay, with all their detail.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray, LabelArray
from dpseg.errors import DataError
from dpseg.segmentation import Segmentation
from dpseg.segmenter import Segmenter

#: Mean difference of two small grey frames, in [0, 255], above which a new scene begins.
_NEW_SCENE = 40
_THUMBNAIL_WH = (32, 18)


class Smoother:
    """Averages scores over time and lets them correct each frame's labels.

    Args:
        segmenter: says how scores become labels.
        past: weight of the past, in [0, 1); 0 changes nothing.
        unlabelled: whether pixels may stay without a label.

    Raises:
        DataError: `past` is outside its range.
    """

    def __init__(self, segmenter: Segmenter, *, past: float, unlabelled: bool = True) -> None:
        if not 0 <= past < 1:
            raise DataError(f"smoothing is {past}; a share of the past in [0, 1) is possible.")
        self._segmenter = segmenter
        self._past = past
        self._unlabelled = unlabelled
        self._memory: tuple[FloatArray, FloatArray] | None = None  # scores, thumbnail

    def __call__(self, result: Segmentation) -> LabelArray:
        """Correct the labels of the next frame.

        Args:
            result: of the frame, as a `Segmenter` made it.

        Returns:
            H W.
        """
        scores, thumbnail = _competing(result), _thumbnail(result.photo)
        averaged = scores
        if self._memory is not None and not _is_new_scene(self._memory, scores, thumbnail):
            averaged = self._past * self._memory[0] + (1 - self._past) * scores
        self._memory = averaged, thumbnail
        now, calm = self._label(scores, result), self._label(averaged, result)
        labels: LabelArray = np.where(now == calm, result.labels, calm)
        return labels

    def _label(self, scores: FloatArray, result: Segmentation) -> LabelArray:
        height, width = result.labels.shape
        return self._segmenter.label(
            scores,
            (height, width),
            given=len(result.classes),
            negatives=len(scores) - len(result.classes) - 1,
            unlabelled=self._unlabelled,
        )


def _competing(result: Segmentation) -> FloatArray:
    """Put the negatives' scores and the best distractor's behind the classes'.

    Distractors differ from frame to frame.

    Returns:
        K + negatives + 1 h w.
    """
    given, evidence = len(result.classes), result.evidence
    named, scores = given, result.scores
    if evidence is not None:
        named, scores = given + evidence.negatives, evidence.scores
    best = scores[named:].max(axis=0, keepdims=True, initial=0)
    return np.concatenate([scores[:named], best.astype(np.float32)])


def _thumbnail(photo: ImageArray) -> FloatArray:
    small = Image.fromarray(photo).resize(_THUMBNAIL_WH, Image.Resampling.BOX).convert("L")
    return np.asarray(small, dtype=np.float32)


def _is_new_scene(
    memory: tuple[FloatArray, FloatArray], scores: FloatArray, thumbnail: FloatArray
) -> bool:
    changed = float(np.abs(thumbnail - memory[1]).mean()) > _NEW_SCENE
    return changed or scores.shape != memory[0].shape
