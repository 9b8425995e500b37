"""Counting pixels."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference

from dpseg.errors import DataError, ShapeError
from dpseg.evaluate.confusion import confusion_matrix


def test_counts_are_scikit_learns():
    rng = np.random.default_rng(0)
    prediction, target = rng.integers(0, 7, (2, 30, 40))
    expected = reference(target.ravel(), prediction.ravel(), labels=range(7))
    np.testing.assert_array_equal(confusion_matrix(prediction, target, 7), expected)


def test_ignored_pixels_do_not_count():
    target = np.array([[0, 255, -1, 1]])
    counts = confusion_matrix(np.array([[1, 0, 5, 1]]), target, 2)
    assert counts.tolist() == [[0, 1], [0, 1]]


def test_more_than_255_classes():
    target = np.array([[255, 846, 65535]], np.uint16)
    counts = confusion_matrix(np.array([[255, 0, 3]]), target, 847, ignore_index=65535)
    assert counts[255, 255] == 1
    assert counts[846, 0] == 1
    assert counts.sum() == 2


def test_parts_add_up_to_the_whole():
    prediction, target = np.random.default_rng(1).integers(0, 4, (2, 20, 20))
    parts = [confusion_matrix(prediction[i : i + 5], target[i : i + 5], 4) for i in (0, 5, 10, 15)]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(prediction, target, 4))


def test_bad_input_is_refused():
    with pytest.raises(DataError, match=r"prediction has values in -1\.\.-1"):
        confusion_matrix(np.array([[-1]]), np.array([[0]]), 2)
    with pytest.raises(DataError, match=r"target has values in 9\.\.9"):
        confusion_matrix(np.array([[0]]), np.array([[9]]), 2)
    with pytest.raises(ShapeError, match="differ in size"):
        confusion_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
