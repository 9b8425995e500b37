"""Category early rejection."""

import numpy as np

from dpseg.model.rejection import surviving_classes


def test_survivors_are_among_the_best_somewhere(normal):
    logits = normal(2, 12, 2, 3)
    expected = set()
    for scores in logits.permute(0, 2, 3, 1).reshape(-1, 12).numpy():
        expected |= set(np.argsort(scores)[-2:].tolist())
    assert surviving_classes(logits, 2).tolist() == sorted(expected)
    assert len(expected) < 12


def test_few_classes_all_survive(normal):
    assert surviving_classes(normal(1, 3, 2, 2), 3).tolist() == [0, 1, 2]
    assert surviving_classes(normal(1, 3, 2, 2), 8).tolist() == [0, 1, 2]
