"""Boxes as evidence: inside a detector's box of a thing, that thing's name is likelier.

A detector knows a few names well, and says nothing of all others. Its word is added to the logits
of the names that it knows, before the whole photo is asked what it shows. A name that it knows
itself gains inside its boxes and loses outside. A kind of a thing that it knows only gains. A
distractor only loses: a detector calls a deer a cow, and a cow that nobody named must not take it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import TypeAlias

import numpy as np

from dpseg.arrays import FloatArray, ImageArray
from dpseg.engines.detector import Boxes, Detector
from dpseg.imaging.tiling import View
from dpseg.inference.hypernyms import hypernyms_of, stem
from dpseg.vocabulary import ClassEntry, Vocabulary, fold

# Chosen on photos kept aside from training; docs/log/experiments.md, "Boxes as evidence".
NEUTRAL = 0.2  # score of a box that says nothing; what is surer speaks for its name
FOR_ALL = 0.75  # weight of what speaks for a name where every pixel gets one
FOR_SOME = 0.5  # where pixels may stay unlabelled: in a box stands ground, too, without a name
LEAST, MOST = 0.03, 0.98  # what a missing box, and the surest one, count as
SAME_THING = 0.3  # cosine of two words; a tiger is no person, whatever its other senses

#: Other words for the names of COCO's things.
SYNONYMS: dict[str, str] = {
    "person": "people|human",
    "bicycle": "bike",
    "car": "automobile",
    "motorcycle": "motorbike",
    "airplane": "aeroplane|plane",
    "handbag": "purse",
    "tie": "necktie",
    "cup": "mug",
    "donut": "doughnut",
    "couch": "sofa",
    "potted plant": "houseplant",
    "dining table": "dinner table|table",
    "tv": "television|monitor",
    "mouse": "computer mouse",
    "remote": "remote control",
    "keyboard": "computer keyboard",
    "cell phone": "mobile phone|smartphone",
    "refrigerator": "fridge",
    "hair drier": "hair dryer",
}

#: Names of COCO's things that mean something else as well; without a box, they may still be there.
AMBIGUOUS = frozenset({"kite", "mouse", "orange", "remote", "table", "tie", "keyboard"})


@dataclass(frozen=True, slots=True)
class Known:
    """What a detector knows of a class.

    Attributes:
        name: position in the detector's list.
        gains: whether its boxes speak for the class.
        loses: whether their absence speaks against it.
    """

    name: int
    gains: bool = True
    loses: bool = True

    def as_distractor(self) -> Known:
        """Let boxes speak against it alone."""
        return replace(self, gains=False)


Embed: TypeAlias = Callable[[Sequence[str]], FloatArray]


class BoxReader:
    """Reads a detector's boxes for one model.

    Args:
        detector: finds them.
        embed: gives unit vectors of names, N D, in the space of the model's text prompts.
    """

    def __init__(self, detector: Detector, embed: Embed) -> None:
        self.detector = detector
        self._embed = embed

    def look(
        self, images: Sequence[ImageArray], views: Sequence[View], photo_hw: tuple[int, int]
    ) -> Boxes:
        """Find the boxes of a photo in its views.

        Args:
            images: of the views, h w 3 each.
            views: the parts of the photo.
            photo_hw: size of the photo.

        Returns:
            All boxes, as shares of the photo.
        """
        found = [self.detector(image) for image in images]
        return joined(list(zip(found, views, strict=True)), photo_hw)

    def known(self, vocabulary: Vocabulary, text_embedding: FloatArray) -> list[Known | None]:
        """Tell what the detector knows of some classes.

        A kind is one only if both words mean much the same to the model.

        Args:
            vocabulary: K classes.
            text_embedding: unit vector of each, K D.
        """
        classes = [self._words.find(entry) for entry in vocabulary]
        kinds = {known.name for known in classes if known is not None and not known.loses}
        if not kinds:
            return classes
        names = [self.detector.names[name] for name in kinds]
        vectors = dict(zip(kinds, self._embed(names), strict=True))
        return [
            None
            if known is None or (not known.loses and vectors[known.name] @ vector < SAME_THING)
            else known
            for known, vector in zip(classes, text_embedding, strict=True)
        ]

    @cached_property
    def _words(self) -> DetectorWords:
        return DetectorWords(self.detector.names)


class DetectorWords:
    """Which classes a detector knows, by their words.

    Args:
        names: that it knows.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._rows = {
            stem(word): row
            for row, name in enumerate(names)
            for word in (name, *SYNONYMS.get(name, "").split("|"))
            if word
        }

    def find(self, entry: ClassEntry) -> Known | None:
        """Tell which of the detector's names a class is, or may be a kind of.

        Args:
            entry: the class.

        Returns:
            None where it is neither; the caller asks the words' embeddings whether a kind is one.
        """
        rows = {word: self._rows[stem(word)] for word in entry.words if stem(word) in self._rows}
        if rows:
            sure = [row for word, row in rows.items() if fold(word) not in AMBIGUOUS]
            return Known(sure[0]) if sure else Known(next(iter(rows.values())), loses=False)
        for wider in (*hypernyms_of(entry.name), fold(entry.name).split()[-1]):
            row = self._rows.get(stem(wider))
            if row is not None:
                return Known(row, loses=False)
        return None


def joined(parts: Sequence[tuple[Boxes, View]], photo_hw: tuple[int, int]) -> Boxes:
    """Gather the boxes of a photo's views.

    Args:
        parts: boxes as shares of a view, and the view.
        photo_hw: size of the photo.

    Returns:
        All boxes, as shares of the photo.
    """
    corners = []
    for boxes, view in parts:
        origin = np.array([view.left, view.top] * 2)
        size = np.array([view.right - view.left, view.bottom - view.top] * 2)
        corners.append((boxes.corners * size + origin) / np.array([*photo_hw[::-1]] * 2))
    return Boxes(
        np.concatenate([boxes.names for boxes, _ in parts]),
        np.concatenate([boxes.scores for boxes, _ in parts]),
        np.concatenate(corners).astype(np.float32),
    )


def add_box_evidence(
    logits: FloatArray,
    boxes: Boxes,
    classes: Sequence[Known | None],
    view: View,
    photo_hw: tuple[int, int],
    *,
    unlabelled: bool,
) -> None:
    """Add what boxes say to the logits of the classes that the detector knows, in place.

    Args:
        logits: of each class in a view, K h w.
        boxes: of the photo.
        classes: what the detector knows of each class, K.
        view: the part of the photo that the logits are of.
        photo_hw: size of the photo.
        unlabelled: whether pixels may stay unlabelled; what speaks for a class then counts less.

    Source: dpseg choice; log-odds of the surest box that covers a position, against those of a box
    that says nothing.
    """
    _, height, width = logits.shape
    x = _positions(view.left, view.right, width, photo_hw[1])
    y = _positions(view.top, view.bottom, height, photo_hw[0])
    loss = _gain(0.0, unlabelled)
    names = {known.name for known in classes if known is not None}
    evidence = {name: np.full((height, width), loss, np.float32) for name in names}
    for index, (name, score) in enumerate(
        zip(boxes.names.tolist(), boxes.scores.tolist(), strict=True)
    ):
        if name in evidence:
            rise = _gain(score, unlabelled) - loss
            said = loss + rise * boxes.coverage(index, x, y)
            evidence[name] = np.maximum(evidence[name], said)
    for row, known in zip(logits, classes, strict=True):
        if known is not None:
            low, high = (-np.inf if known.loses else 0), (np.inf if known.gains else 0)
            row += evidence[known.name].clip(low, high)


@dataclass(frozen=True, slots=True)
class BoxHints:
    """The boxes of a photo, and what the detector knows of each of the K names that compete."""

    boxes: Boxes
    classes: Sequence[Known | None]

    @property
    def names(self) -> tuple[int, ...]:
        """The detector's name of each class, K; -1 where it knows none."""
        return tuple(-1 if known is None else known.name for known in self.classes)

    def select(self, classes: Sequence[int]) -> BoxHints:
        """Keep some classes."""
        return BoxHints(self.boxes, [self.classes[index] for index in classes])

    def add(
        self, logits: FloatArray, view: View, photo_hw: tuple[int, int], unlabelled: bool
    ) -> None:
        """Add the evidence to the logits of one view, K h w, in place."""
        add_box_evidence(logits, self.boxes, self.classes, view, photo_hw, unlabelled=unlabelled)


def _positions(start: int, end: int, count: int, side: int) -> FloatArray:
    """Give the centres of `count` equal parts of a view's side, as shares of the photo's side."""
    shares = (start + (np.arange(count) + 0.5) * (end - start) / count) / side
    return shares.astype(np.float32)


def _gain(score: float, unlabelled: bool) -> float:
    """Weigh a box's score against one that says nothing."""
    score = min(max(score, LEAST), MOST)
    gain = log(score / (1 - score)) - log(NEUTRAL / (1 - NEUTRAL))
    return gain * (FOR_SOME if unlabelled else FOR_ALL) if gain > 0 else gain
