"""Counts of a whole configuration."""

import numpy as np
import pytest

from dpseg.errors import ShapeError
from dpseg.evaluate.accumulators import Accumulators
from dpseg.evaluate.objects import object_truth


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
