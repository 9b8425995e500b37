"""Fusing a model's answer with what teachers say, and keeping what is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpseg.arrays import BoolArray, FloatArray, LabelArray
from dpseg.imaging.resize import resize_bilinear
from dpseg.inference.hypernyms import stem
from dpseg.train.labels.recipe import TeacherSettings
from dpseg.vocabulary import Vocabulary

LEAST, MOST = 0.01, 0.99  # scores beyond count as these; no teacher is that sure


@dataclass(frozen=True, slots=True)
class TeacherScores:
    """What a teacher says of the names of a vocabulary in one photo.

    Attributes:
        settings: of the teacher.
        classes: positions of the names that it knows, n.
        scores: of these names, in [0, 1], n h w.
    """

    settings: TeacherSettings
    classes: Sequence[int]
    scores: FloatArray


def names_in_common(
    vocabulary: Vocabulary, words: Sequence[Sequence[str]], only: Sequence[str] | None
) -> tuple[list[int], list[int]]:
    """Find the names that a vocabulary and a teacher share.

    Args:
        vocabulary: the classes.
        words: each of the teacher's names with its synonyms.
        only: the classes for which the teacher is believed; None for all.

    Returns:
        Positions in the vocabulary, and the same names' positions in `words`.
    """
    rows = {stem(word): row for row, names in reversed(list(enumerate(words))) for word in names}
    classes, theirs = [], []
    for index, entry in enumerate(vocabulary):
        row = next((rows[stem(word)] for word in entry.words if stem(word) in rows), None)
        if row is not None and (only is None or entry.name in only):
            classes.append(index)
            theirs.append(row)
    return classes, theirs


def fuse(
    own: FloatArray,
    teacher_scores: Sequence[TeacherScores],
    size_hw: tuple[int, int],
    *,
    share: float,
    least: float,
) -> LabelArray:
    """Label the pixels that a model and its teachers are sure of.

    Args:
        own: the model's scores in [0, 1], K h w.
        teacher_scores: of all teachers.
        size_hw: of the label.
        share: that a pixel's best name needs of all names.
        least: own score that a name needs which a teacher knows.

    Returns:
        Positions of names, -1 where nothing is sure, H W.

    Source: dpseg choice; log-odds add up as if model and teachers erred independently.
    """
    scores = resize_bilinear(own, size_hw).clip(1e-6, 1 - 1e-6)
    logits, sure = _log_odds(scores), np.ones(size_hw, bool)
    heard = [(one, resize_bilinear(one.scores, size_hw)) for one in teacher_scores]
    for one, said in heard:
        gain = _log_odds(said.clip(LEAST, MOST)) - _log_odds(np.float32(one.settings.neutral))
        logits[one.classes] += one.settings.weight * gain
    winner = logits.argmax(axis=0)
    odds = np.exp(logits - logits.max(axis=0))
    sure &= odds.sum(axis=0) * share < 1
    for one, said in heard:
        position = np.full(len(own), -1)
        position[one.classes] = np.arange(len(one.classes))
        row = position[winner]  # of the winner among the teacher's names, -1 for none
        score = np.take_along_axis(said, row.clip(min=0)[None], axis=0)[0]
        mine = np.take_along_axis(scores, winner[None], axis=0)[0]
        sure &= (row < 0) | ((score >= one.settings.least) & (mine >= least))
    labels: LabelArray = np.where(sure, winner, -1).astype(np.int32)
    return labels


def nowhere(
    teacher_scores: Sequence[TeacherScores], size_hw: tuple[int, int], least: float
) -> BoolArray:
    """Tell where no teacher finds any of its names.

    Args:
        teacher_scores: of all teachers.
        size_hw: of the answer.
        least: a name that scores less is not there.

    Returns:
        H W.
    """
    highest = [resize_bilinear(one.scores.max(axis=0)[None], size_hw)[0] for one in teacher_scores]
    empty: BoolArray = np.max(highest, axis=0) < least
    return empty


def _log_odds(scores: FloatArray | np.float32) -> FloatArray:
    odds: FloatArray = np.log(scores) - np.log1p(-scores)
    return odds
