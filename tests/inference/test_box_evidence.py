"""Boxes as evidence: which words a detector knows, and what its boxes add."""

import numpy as np
import pytest

from dpseg.engines.detector import Boxes
from dpseg.imaging.tiling import View
from dpseg.inference.box_evidence import (
    FOR_ALL,
    FOR_SOME,
    NEUTRAL,
    DetectorWords,
    Known,
    add_box_evidence,
    joined,
)
from dpseg.vocabulary import ClassEntry

NAMES = ("person", "dog", "hot dog", "couch", "truck")


@pytest.mark.parametrize(
    ("word", "name", "exact"),
    [
        ("dog", "dog", True),
        ("Dogs", "dog", True),
        ("hot dog", "hot dog", True),
        ("sofa", "couch", True),
        ("poodle", "dog", False),
        ("police dog", "dog", False),
        ("astronaut", "person", False),
        ("fire engine", "truck", False),
        ("sky", None, False),
        ("dog house", None, False),
    ],
)
def test_words_that_a_detector_knows(word: str, name: str | None, exact: bool):
    found = DetectorWords(NAMES).find(ClassEntry(word))
    assert found == (None if name is None else Known(NAMES.index(name), loses=exact))


def test_an_ambiguous_word_only_gains():
    words = DetectorWords(("mouse",))
    assert words.find(ClassEntry("mouse")) == Known(0, loses=False)
    assert words.find(ClassEntry("mouse", ("computer mouse",))) == Known(0)


def test_a_synonym_makes_a_class_known():
    assert DetectorWords(NAMES).find(ClassEntry("hound", ("dog",))) == Known(1)


def _boxes(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Boxes:
    names, scores, corners = zip(*rows, strict=True)
    return Boxes(np.array(names), np.array(scores, np.float32), np.array(corners, np.float32))


def _log_odds(score: float) -> float:
    return float(np.log(score / (1 - score)) - np.log(NEUTRAL / (1 - NEUTRAL)))


def _added(boxes: Boxes, classes: list[Known | None], size_hw, *, unlabelled=False) -> np.ndarray:
    logits = np.ones((len(classes), *size_hw), np.float32)
    whole = View(0, 0, 100, 200, size_hw)
    add_box_evidence(logits, boxes, classes, whole, (100, 200), unlabelled=unlabelled)
    return logits - 1


def test_evidence_inside_and_outside_of_boxes():
    boxes = _boxes((1, 0.9, (0, 0, 0.5, 1)), (1, 0.5, (0, 0, 1, 0.5)), (0, 0.9, (0, 0, 1, 1)))
    dog = Known(1)
    got = _added(boxes, [dog, Known(1, loses=False), dog.as_distractor(), None], (2, 2))
    sure, half, none = FOR_ALL * _log_odds(0.9), FOR_ALL * _log_odds(0.5), _log_odds(0.03)
    np.testing.assert_allclose(got[0], [[sure, half], [sure, none]], rtol=1e-5)
    np.testing.assert_allclose(got[1], [[sure, half], [sure, 0]], rtol=1e-5)
    np.testing.assert_allclose(got[2], [[0, 0], [0, none]], rtol=1e-5)
    assert not got[3].any()


def test_a_box_counts_less_where_pixels_may_stay_unlabelled():
    boxes = _boxes((0, 0.8, (0, 0, 1, 1)))
    got = _added(boxes, [Known(0)], (1, 1), unlabelled=True)
    assert got[0, 0, 0] == pytest.approx(FOR_SOME * _log_odds(0.8), rel=1e-5)


def test_a_doubtful_box_speaks_against_its_thing_but_not_against_a_kind_of_it():
    boxes = _boxes((0, 0.05, (0, 0, 1, 1)))
    got = _added(boxes, [Known(0), Known(0, loses=False)], (2, 2), unlabelled=True)
    np.testing.assert_allclose(got[0], _log_odds(0.05), rtol=1e-5)
    assert not got[1].any()


def test_boxes_of_views_are_placed_in_the_photo():
    whole, tile = View(0, 0, 100, 200, (8, 8)), View(50, 100, 100, 200, (8, 8))
    one = _boxes((0, 0.5, (0.5, 0.5, 1, 1)))
    both = joined([(one, whole), (one, tile)], (100, 200))
    np.testing.assert_allclose(both.corners, [[0.5, 0.5, 1, 1], [0.75, 0.75, 1, 1]])


def test_a_tile_gets_its_part_of_the_photos_evidence():
    boxes = _boxes((0, 0.9, (0.2, 0.3, 0.8, 0.7)))
    whole = np.zeros((1, 8, 16), np.float32)
    add_box_evidence(
        whole, boxes, [Known(0)], View(0, 0, 80, 160, (8, 8)), (80, 160), unlabelled=False
    )
    tile = np.zeros((1, 4, 8), np.float32)
    add_box_evidence(
        tile, boxes, [Known(0)], View(40, 80, 80, 160, (8, 8)), (80, 160), unlabelled=False
    )
    np.testing.assert_allclose(tile, whole[:, 4:, 8:], rtol=1e-5)
