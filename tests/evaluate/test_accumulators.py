"""Counts of a whole configuration, and the decision at full size."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dpseg.errors import ShapeError
from dpseg.evaluate.accumulators import Accumulators, decide
from dpseg.evaluate.objects import object_truth


@pytest.mark.parametrize("size_hw", [(97, 130), (12, 9), (5, 200), (1, 1)])
def test_the_decision_is_the_argmax_of_the_enlarged_scores(size_hw):
    logits = np.random.default_rng(0).normal(size=(30, 12, 9)).astype(np.float32)
    full = interpolate(torch.from_numpy(logits)[None], size_hw, mode="bilinear")[0]
    np.testing.assert_array_equal(decide(logits, size_hw), full.argmax(dim=0).numpy())


def test_classes_that_never_win_do_not_disturb():
    logits = np.full((500, 6, 6), -9, np.float32)
    logits[[17, 333]] = np.random.default_rng(1).normal(size=(2, 6, 6))
    labels = decide(logits, (50, 40))
    assert labels.shape == (50, 40)
    assert set(np.unique(labels)) == {17, 333}


def test_a_single_place_and_a_single_class():
    assert decide(np.zeros((1, 4, 4), np.float32), (8, 8)).max() == 0
    assert decide(np.array([[[0.0]], [[1.0]]], np.float32), (3, 2)).min() == 1


def test_tallies_of_parts_add_up():
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 4, (6, 2, 30, 30))
    accumulators = [Accumulators.of_picture(p, object_truth(t), 4) for p, t in pictures]
    forwards = sum(accumulators, Accumulators.empty(4))
    halves = sum(accumulators[3:], Accumulators.empty(4)) + sum(
        accumulators[:3], Accumulators.empty(4)
    )
    for name in ("confusion", "sizes", "outlines"):
        np.testing.assert_array_equal(getattr(forwards, name), getattr(halves, name))
    assert forwards.confusion.sum() == 6 * 900


def test_tallies_of_other_vocabularies_do_not_add_up():
    with pytest.raises(ShapeError, match="3 and 4 classes"):
        _ = Accumulators.empty(3) + Accumulators.empty(4)


def test_unlabelled_pixels_and_figures_of_nothing():
    accumulator = Accumulators.of_picture(
        np.zeros((4, 4), int), object_truth(np.full((4, 4), 255)), 2
    )
    assert accumulator.confusion.sum() == 0
    plain = accumulator.to_dict(["a", "b"])
    assert plain["miou"] is None
    assert plain["class_iou"] == {"a": None, "b": None}
