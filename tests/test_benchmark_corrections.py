"""The simulated user of `benchmarks/corrections.py` clicks where a user would."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

BENCHMARK = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks/corrections.py"))


def test_the_largest_mistake_is_clicked_in_its_middle() -> None:
    truth = np.zeros((40, 40), np.int32)
    truth[:, 30:] = -1  # not known
    labels = truth.copy()
    labels[2:9, 2:9] = 1
    labels[20:31, 10:25] = 2
    labels[25:, 30:] = 2
    row, column = BENCHMARK["largest_mistake"](labels, truth)
    assert (row, 15 <= column <= 19) == (25, True)
    assert BENCHMARK["largest_mistake"](truth, truth) is None
    labels = np.where(truth == 0, -1, truth)  # background is to stay unlabelled
    assert BENCHMARK["largest_mistake"](labels, np.where(truth == 0, -2, truth)) is None


def test_figures_are_those_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(-2, 3, (20, 30)).astype(np.int32)
    labels = rng.integers(-1, 3, (20, 30)).astype(np.int32)
    counts = BENCHMARK["Counts"](3, True)
    counts.add(labels, truth)
    mapped = [np.where(one < 0, 3, one)[truth != -1] for one in (labels, truth)]
    expected = multiclass_jaccard_index(*map(torch.from_numpy, mapped), num_classes=4)
    assert counts.miou() == pytest.approx(100 * float(expected))
