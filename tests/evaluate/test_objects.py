"""Figures by object size and at outlines."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from skimage.draw import disk

from dpseg.evaluate.objects import (
    boundary_counts,
    boundary_iou,
    object_truth,
    size_counts,
    size_miou,
)


@pytest.fixture
def target():
    """A 100 x 100 picture: class 0, a small, a medium and a large object of class 1."""
    labels = np.zeros((100, 100), np.int64)
    labels[5:10, 5:15] = 1  # 0.5 %
    labels[5:25, 40:60] = 1  # 4 %
    labels[50:90, 20:80] = 1  # 24 %
    return labels


def test_a_perfect_prediction_scores_one_in_every_size(target):
    counts = size_counts(target, object_truth(target), 2)
    assert counts[:, 1, 0].tolist() == [50, 400, 2400]
    assert size_miou(counts) == {"small": 1, "medium": 1, "large": 1}


def test_missing_the_small_object_costs_the_small_figure_only(target):
    prediction = target.copy()
    prediction[5:10, 5:15] = 0
    counts = size_counts(prediction, object_truth(target), 2)
    iou = counts[:, 1, 0] / counts[:, 1].sum(axis=1)
    assert iou.tolist() == [0, 1, 1]


def test_spill_counts_against_the_nearest_object(target):
    prediction = target.copy()
    prediction[10:15, 5:15] = 1  # below the small object
    counts = size_counts(prediction, object_truth(target), 2)
    assert counts[:, 1, 1].tolist() == [50, 0, 0]


def test_false_alarms_far_from_the_class_belong_to_no_object(target):
    prediction = target.copy()
    prediction[0, :] = 2
    assert size_counts(prediction, object_truth(target), 3)[:, 2].sum() == 0


def test_ignored_pixels_do_not_count(target):
    target[10:15, 5:15] = 255
    prediction = np.where(target == 255, 1, target)
    assert size_counts(prediction, object_truth(target), 2)[:, :, 1].sum() == 0


def test_touching_corners_make_one_object():
    labels = np.zeros((20, 20), np.int64)
    labels[0, 0] = labels[1, 1] = labels[2, 2] = labels[3, 3] = 1  # 1 %: medium
    assert size_counts(labels, object_truth(labels), 2)[:, 1, 0].tolist() == [0, 4, 0]


def boundary_by_erosion(mask, width):
    """The boundary region of one mask, as its authors define it."""
    return mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width)


def test_boundary_iou_is_that_of_eroded_masks():
    target = np.zeros((80, 90), np.int64)
    target[disk((40, 40), 20)] = 1
    target[disk((20, 70), 8)] = 2
    prediction = np.roll(target, (2, -1), axis=(0, 1))
    truth = object_truth(target)
    counts = boundary_counts(prediction, truth, 3)
    for index in range(3):
        first = boundary_by_erosion(target == index, truth.outline_width)
        second = boundary_by_erosion(prediction == index, truth.outline_width)
        expected = (first & second).sum() / (first | second).sum()
        assert boundary_iou(counts)[index] == pytest.approx(expected)


def test_boundary_iou_of_itself_is_one(target):
    target[60:70] = 255
    counts = boundary_counts(target, object_truth(target), 3)
    np.testing.assert_array_equal(boundary_iou(counts), [1, 1, np.nan])
