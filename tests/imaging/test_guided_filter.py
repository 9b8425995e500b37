"""The guided filter, beside ridge regression window by window."""

import numpy as np
import pytest

from dpseg.imaging.guided_filter import box_mean, guided_filter

RADIUS, EPSILON = 2, 1e-2


@pytest.fixture
def image():
    return np.random.default_rng(0).random((3, 9, 7), np.float32)


@pytest.fixture
def maps():
    return np.random.default_rng(1).random((2, 9, 7), np.float32)


def window(size, centre):
    return slice(max(0, centre - RADIUS), min(size, centre + RADIUS + 1))


def by_regression(one, image):
    """Fit each window by itself, with a penalty on slopes; a pixel takes the mean of the fits."""
    height, width = one.shape
    total, count = np.zeros((2, height, width))
    for row in range(height):
        for column in range(width):
            at = window(height, row), window(width, column)
            colours = image[(slice(None), *at)].reshape(3, -1).T.astype(np.float64)
            values = one[at].ravel().astype(np.float64)
            penalty = np.sqrt(EPSILON * len(values)) * np.eye(3)
            centred = np.concatenate([colours - colours.mean(0), penalty])
            targets = np.concatenate([values - values.mean(), np.zeros(3)])
            slope = np.linalg.lstsq(centred, targets, rcond=None)[0]
            fit = values.mean() + (colours - colours.mean(0)) @ slope
            # The slope and offset of a window count for every pixel that it holds.
            total[at] += fit.reshape(total[at].shape)
            count[at] += 1
    return total / count


def test_equals_regression_in_every_window(maps, image):
    found = guided_filter(maps, image, radius=RADIUS, epsilon=EPSILON)
    for one, filtered in zip(maps, found, strict=True):
        np.testing.assert_allclose(filtered, by_regression(one, image), atol=1e-4)


def test_a_map_that_is_a_colour_stays(image):
    found = guided_filter(image[:1], image, radius=RADIUS, epsilon=1e-6)
    np.testing.assert_allclose(found, image[:1], atol=1e-3)


def test_an_even_image_smooths(maps):
    even = np.full((3, 9, 7), 0.5, np.float32)
    found = guided_filter(maps, even, radius=RADIUS, epsilon=EPSILON)
    expected = box_mean(box_mean(maps, RADIUS), RADIUS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("radius", [0, 1, 20])
def test_means_are_those_of_the_window(maps, radius):
    found = box_mean(maps, radius)
    for row, column in ((0, 0), (4, 3), (8, 6)):
        part = maps[
            :,
            max(0, row - radius) : row + radius + 1,
            max(0, column - radius) : column + radius + 1,
        ]
        np.testing.assert_allclose(found[:, row, column], part.mean((1, 2)), atol=1e-6)
