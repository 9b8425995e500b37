"""Things pasted into crops."""

import numpy as np
import pytest

from dpseg.data.dataset import Sample
from dpseg.data.paste import OUTSIDE, SIDES, paste_thing

GREEN, RED, WHITE = (40, 200, 60), (220, 40, 40), (255, 255, 255)


def cutout(height=30, width=20):
    """A red thing, class 7, in the middle of white ground."""
    label = np.full((60, 70), -2, np.int32)
    image = np.full((60, 70, 3), WHITE, np.uint8)
    label[10 : 10 + height, 25 : 25 + width] = 7
    image[label == 7] = RED
    return Sample("thing", image, label)


def ground(size=80):
    return np.full((size, size, 3), GREEN, np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_thing_lies_where_its_label_says_and_brings_no_ground(seed):
    picture, label = paste_thing(ground(), cutout(), np.random.default_rng(seed))
    assert picture.shape == (80, 80, 3)
    assert set(np.unique(label)) == {-1, 7}
    distance = np.abs(picture.astype(int) - RED).sum(2)
    assert np.median(distance[label == 7]) < 40
    away = label == -1
    away[1:-1, 1:-1] &= ~np.maximum.reduce(
        [np.roll(label == 7, s, a)[1:-1, 1:-1] for s in range(-4, 5) for a in (0, 1)]
    )
    assert (picture[away] == GREEN).all(1).mean() > 0.9
    assert not (picture == WHITE).all(2).any()


def test_most_of_the_thing_is_in_the_picture():
    sides = []
    for seed in range(40):
        _, label = paste_thing(ground(), cutout(30, 30), np.random.default_rng(seed))
        there = label == 7
        sides.append(max(there.any(1).sum(), there.any(0).sum()) / 80)
    assert min(sides) >= SIDES[0] * (1 - OUTSIDE) - 0.03
    assert max(sides) <= SIDES[1] + 0.03


def test_photo_behind_is_at_times_out_of_focus():
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8)
    spreads = []
    for seed in range(20):
        picture, label = paste_thing(noise, cutout(), np.random.default_rng(seed))
        spreads.append(picture[label == -1].std())
    sharp = np.array(spreads) > 60
    assert 0 < (~sharp).sum() < 14


def test_the_same_chance_gives_the_same_picture():
    one, other = (paste_thing(ground(), cutout(), np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])
