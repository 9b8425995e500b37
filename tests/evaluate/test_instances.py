"""Panoptic quality and counting error of segments."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.detection import panoptic_quality

from dpseg.errors import ShapeError
from dpseg.evaluate.instances import VOID, InstanceCounts, Segments

THINGS = np.array([True, True, False])
BACKGROUND, NOBODY_KNOWS = 3, 4  # categories that torchmetrics needs for no segment and for void


def rectangles(rng: np.random.Generator, count: int, void: bool) -> Segments:
    """Paint rectangles of three classes over each other; stuff is one segment."""
    numbers = np.zeros((40, 50), np.int32)
    classes = [2]
    for _ in range(count):
        top, left = rng.integers(0, 30), rng.integers(0, 40)
        height, width = rng.integers(5, 20, 2)
        kind = int(rng.integers(0, 3))
        if kind != 2:
            classes.append(kind)
        numbers[top : top + height, left : left + width] = 1 if kind == 2 else len(classes)
    there = [number for number in range(1, len(classes) + 1) if (numbers == number).any()]
    renumbered = np.zeros_like(numbers)
    for new, old in enumerate(there, start=1):
        renumbered[numbers == old] = new
    if void:
        renumbered[:12, 5:30] = VOID
    return Segments(renumbered, np.array([classes[old - 1] for old in there], np.int32))


def pairs_of(segments: Segments) -> torch.Tensor:
    """Write category and number of each pixel, as torchmetrics wants it."""
    categories = np.array([*segments.classes, NOBODY_KNOWS, BACKGROUND])[segments.numbers - 1]
    categories[segments.numbers == 0] = BACKGROUND
    categories[segments.numbers == VOID] = NOBODY_KNOWS
    return torch.from_numpy(np.stack([categories, segments.numbers], axis=-1))[None]


@pytest.mark.parametrize("seed", range(8))
def test_quality_is_that_of_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    true = rectangles(rng, 9, void=seed % 2 == 0)
    kept = [(k, true.numbers == n) for n, k in enumerate(true.classes, 1) if rng.random() < 0.8]
    found = Segments.of_masks(
        [(int(k) if rng.random() < 0.8 else 1 - min(int(k), 1), np.roll(mask, 1, axis=0))
         for k, mask in kept], true.numbers.shape,
    )  # fmt: skip
    expected = panoptic_quality(
        pairs_of(found), pairs_of(true), things={0, 1}, stuffs={2, BACKGROUND},
        allow_unknown_preds_category=True, return_sq_and_rq=True, return_per_class=True,
    )  # fmt: skip
    counts = InstanceCounts.of_image(found, true, 3)
    for k in range(3):
        figures = InstanceCounts(
            counts.matches * (np.arange(3) == k)[:, None], counts.overlap, counts.off, counts.asked
        ).figures(THINGS)
        values = np.nan_to_num([figures[name] for name in ("pq", "sq", "rq")])
        np.testing.assert_allclose(values, expected[k].numpy(), atol=1e-6)


def test_counts_are_off_by_what_is_missed_and_by_what_is_too_much():
    size_hw = (10, 30)

    def cells(*columns: int) -> Segments:
        masks = []
        for column in columns:
            mask = np.zeros(size_hw, bool)
            mask[:, 3 * column : 3 * column + 2] = True
            masks.append((0, mask))
        return Segments.of_masks(masks, size_hw)

    counts = InstanceCounts.of_image(cells(0, 1, 2), cells(0, 1, 2, 3, 4), 3)
    assert counts.figures(THINGS)["counting_error"] == 2
    counts += InstanceCounts.of_image(cells(5, 6), cells(5), 3)
    assert counts.figures(THINGS)["counting_error"] == 1.5
    assert counts.matches.tolist()[0] == [4, 1, 2]
    nothing = InstanceCounts.of_image(cells(), cells(), 3)
    assert (counts + nothing).asked.tolist() == counts.asked.tolist() == [2, 0, 0]
    assert np.isnan(nothing.figures(THINGS)["pq"])


def test_what_lies_where_nobody_knows_does_not_count():
    true = Segments(np.full((4, 10), VOID, np.int32), np.array([], np.int32))
    true.numbers[:, 8:] = 0
    mask = np.zeros((4, 10), bool)
    mask[:, 2:9] = True
    counts = InstanceCounts.of_image(Segments.of_masks([(1, mask)], (4, 10)), true, 3)
    assert counts.matches.sum() == counts.off.sum() == 0


def test_two_sizes_are_refused():
    one, other = Segments.of_masks([], (4, 4)), Segments.of_masks([], (4, 5))
    with pytest.raises(ShapeError, match=r"found \(4, 4\) and true \(4, 5\)"):
        InstanceCounts.of_image(one, other, 1)
