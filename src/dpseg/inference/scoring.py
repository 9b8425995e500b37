"""Scores of the views of a photo: the model's, with all that speaks beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpseg.arrays import AnyArray, FloatArray, PromptSet
from dpseg.engines.protocol import Engine
from dpseg.inference.box_evidence import BoxHints
from dpseg.inference.class_prior import ABSENT, photo_bias, presence_probability
from dpseg.inference.correction_evidence import CorrectionHints
from dpseg.inference.encoded_photo import EncodedPhoto
from dpseg.inference.options import SegmentOptions
from dpseg.prompts.refine import sigmoid


@dataclass(frozen=True, slots=True)
class ViewScores:
    """What is said of K classes in the views of a photo.

    Attributes:
        scores: in [0, 1], of every view, K h w each.
        bias: what the class prior or the presence gate adds to logits, K 1 1.
        presence: probability of each given name.
    """

    scores: Sequence[FloatArray]
    bias: FloatArray
    presence: FloatArray


class ViewScorer:
    """Scores the views of one photo.

    Args:
        engine: the model.
        encoded: the photo, as the model saw it.
        options: what is asked.
        given: how many of the classes are given; the others compete with them.
        boxes: what a detector says of the classes; None without one.
        corrections: what the user said of them; None without any.
    """

    def __init__(
        self,
        engine: Engine,
        encoded: EncodedPhoto,
        options: SegmentOptions,
        given: int,
        *,
        boxes: BoxHints | None,
        corrections: CorrectionHints | None,
    ) -> None:
        self._engine, self._encoded, self._options = engine, encoded, options
        self._given, self._boxes, self._corrections = given, boxes, corrections

    def first(self, prompts: PromptSet[AnyArray]) -> ViewScores:
        """Score all classes; the photo as a whole says which of them are likely."""
        options, given = self._options, self._given
        logits = list(self._logits(prompts))
        bias = np.zeros((len(logits[0]), 1, 1), np.float32)
        if self._engine.info.photo_bias:
            bias += photo_bias(logits, given, options)
        presence = presence_probability(logits, given)
        bias[:given][presence < options.min_presence] = ABSENT
        if self._corrections is not None:
            bias[self._corrections.settled] = 0  # the user sees it, however small it is
        return ViewScores([sigmoid(view + bias) for view in logits], bias, presence)

    def again(
        self, prompts: PromptSet[AnyArray], before: ViewScores, classes: Sequence[int]
    ) -> ViewScores:
        """Score some classes by other prompts; all else stays as it was before."""
        scores = [view.copy() for view in before.scores]
        for view, logits in zip(scores, self._logits(prompts, classes), strict=True):
            view[classes] = sigmoid(logits + before.bias[classes])
        return replace(before, scores=scores)

    def _logits(
        self, prompts: PromptSet[AnyArray], classes: Sequence[int] | None = None
    ) -> Iterator[FloatArray]:
        """Yield the logits of some classes, None for all, in each view: n h w."""
        encoded, boxes = self._encoded, self._boxes
        if classes is not None:
            prompts = prompts.select(classes)
            boxes = None if boxes is None else boxes.select(classes)
        for features, view in zip(encoded.features, encoded.views, strict=True):
            logits = self._engine.score(features, prompts)
            if boxes is not None:
                boxes.add(logits, view, encoded.size_hw, self._options.unlabelled)
            if self._corrections is not None:
                self._corrections.add(logits, features.image_embedding, view, classes)
            yield logits
