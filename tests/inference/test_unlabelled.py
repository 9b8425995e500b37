"""A pixel stays without a name where none is sure; the longer the list, the surer it must be."""

import numpy as np
import pytest

from dpseg.inference.unlabelled import UnlabelledRules, leave_unlabelled


def test_pixels_stay_unlabelled_below_the_threshold_or_a_clear_distractor() -> None:
    labels = leave_unlabelled(
        np.array([0, 1, 1, 0], np.int32),
        np.array([0.9, 0.2, 0.5, 0.5], np.float32),
        np.array([0.1, -np.inf, 0.8, 0.52], np.float32),
        threshold=0.3,
        margin=0.05,
    )
    assert labels.tolist() == [0, -1, -1, 0]
    assert labels.dtype == np.int32


@pytest.mark.parametrize(
    ("names", "odds"),
    [(1, 1 / 4), (4, 1 / 4), (16, 1 / 2), (64, 1.0)],  # a score of 0.2 has odds of 1 to 4
)
def test_longer_lists_need_surer_names(names: int, odds: float) -> None:
    assert UnlabelledRules().needed_score(0.2, names) == pytest.approx(odds / (1 + odds))
    assert UnlabelledRules(threshold=0.1).needed_score(0.2, names) == 0.1


def test_needed_score_stays_a_score() -> None:
    assert UnlabelledRules().needed_score(0.0, 80) == 0
    assert UnlabelledRules().needed_score(1.0, 80) == 1
