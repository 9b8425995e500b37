"""Random crops."""

import numpy as np
import pytest

from dpseg.data.transforms import (
    CUTOUT_SIDE,
    CropSettings,
    cutout,
    jitter_colours,
    random_crop,
)

GREY = 124


def make_photo(size_hw=(40, 60)):
    """Draw a photo whose colour tells its label: -2 black, -1 blue, 0 red, 5 white."""
    label = np.full(size_hw, -2, np.int32)
    label[: size_hw[0] // 2, size_hw[1] // 2 :] = -1
    label[size_hw[0] // 2 :, : size_hw[1] // 2] = 0
    label[size_hw[0] // 2 :, size_hw[1] // 2 :] = 5
    colours = {-2: (0, 0, 0), -1: (0, 0, 255), 0: (255, 0, 0), 5: (255, 255, 255)}
    image = np.zeros((*size_hw, 3), np.uint8)
    for value, colour in colours.items():
        image[label == value] = colour
    return image, label, colours


@pytest.mark.parametrize("scale", [(0.3, 0.5), (0.9, 2.0), (3.0, 3.0)])
def test_picture_and_label_move_together(scale):
    image, label, colours = make_photo()
    settings = CropSettings(size=32, scale=scale, jitter=0.0)
    generator = np.random.default_rng(0)
    for _ in range(20):
        crop, crop_label = random_crop(image, label, settings, generator)
        assert crop.shape == (32, 32, 3)
        assert crop.dtype == np.uint8
        assert crop_label.shape == (32, 32)
        assert set(np.unique(crop_label)) <= {-2, -1, 0, 5}
        for value, colour in colours.items():
            exact = (crop == colour).all(2)  # blended borders are no pure colour
            assert (crop_label[exact] == value).mean() > 0.95 if exact.any() else True
        assert ((crop == GREY).all(2) <= (crop_label == -1)).all()


def test_scale_sets_the_long_side_against_the_crop():
    image, label, _ = make_photo((40, 60))
    settings = CropSettings(size=90, scale=(0.5, 0.5), jitter=0.0)
    crop, _ = random_crop(image, label, settings, np.random.default_rng(0))
    inside = ~(crop == GREY).all(2)
    assert inside.any(axis=0).sum() == 45
    assert inside.any(axis=1).sum() == 30


def test_enlarged_photo_fills_the_crop():
    image, label, _ = make_photo((40, 60))
    settings = CropSettings(size=32, scale=(2.0, 2.0))
    label[label == -1] = 5
    for seed in range(10):
        _, crop_label = random_crop(image, label, settings, np.random.default_rng(seed))
        assert -1 not in crop_label


def test_half_of_the_crops_are_mirrored():
    image, label, _ = make_photo((32, 32))
    settings = CropSettings(size=32, scale=(1.0, 1.0), jitter=0.0)
    generator = np.random.default_rng(0)
    corners = [random_crop(image, label, settings, generator)[1][-1, 0] for _ in range(200)]
    assert set(corners) == {0, 5}
    assert 70 < corners.count(5) < 130


def test_jitter_changes_colours_within_its_range():
    image = np.full((32, 32, 3), 100, np.uint8)
    settings = CropSettings(jitter=0.2)
    generator = np.random.default_rng(0)
    means = [jitter_colours(image, settings, generator).mean() for _ in range(50)]
    assert 79 <= min(means) < 85
    assert 115 < max(means) <= 120


def test_colour_is_taken_away_at_times():
    image, _, _ = make_photo()
    settings, generator = CropSettings(jitter=0.0, grey=0.3), np.random.default_rng(0)
    spreads = [np.ptp(jitter_colours(image, settings, generator), axis=2) for _ in range(100)]
    assert 15 < sum(spread.max() <= 1 for spread in spreads) < 45


def test_squares_are_hidden_in_every_second_crop():
    image = np.zeros((3 * CUTOUT_SIDE, 4 * CUTOUT_SIDE - 10, 3), np.uint8)
    settings, generator = CropSettings(cutout=0.5), np.random.default_rng(0)
    crops = [cutout(image, settings, generator) for _ in range(100)]
    assert not image.any()
    hidden = np.array([(crop == GREY).all(2).mean() for crop in crops])
    assert 35 < (hidden > 0).sum() < 65
    assert 0.4 < hidden[hidden > 0].mean() < 0.6
    for crop in crops[:10]:
        side = crop[:CUTOUT_SIDE, :CUTOUT_SIDE]
        assert (side == side[0, 0]).all()


def test_the_same_seed_draws_the_same_crop():
    image, label, _ = make_photo()
    first, second = (
        random_crop(image, label, CropSettings(size=32), np.random.default_rng(3)) for _ in "12"
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 500), (500, 1)])
def test_slivers_are_cropped_too(size_hw):
    image, label = np.zeros((*size_hw, 3), np.uint8), np.zeros(size_hw, np.int32)
    for seed in range(5):
        crop = random_crop(image, label, CropSettings(size=32), np.random.default_rng(seed))
        assert crop[1].shape == (32, 32)
        assert 0 in crop[1]
