"""Overlays can be looked at, whatever the photo's size and the vocabulary's."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from dpseg.imaging.draw import overlay, palette, percent


def test_colours_look_different() -> None:
    lab = rgb2lab(palette(24)[None] / 255.0)[0]
    distance = deltaE_ciede2000(lab[:, None], lab[None])
    assert distance[~np.eye(24, dtype=bool)].min() > 8


def test_a_shorter_palette_begins_a_longer_one() -> None:
    np.testing.assert_array_equal(palette(300)[:10], palette(10))
    assert palette(2500).shape == (2500, 3)


@pytest.mark.parametrize("photo_hw", [(1, 1), (30, 4000), (4000, 30), (480, 640)])
def test_any_size_is_shown_at_a_size_to_look_at(photo_hw: tuple[int, int]) -> None:
    photo = np.zeros((*photo_hw, 3), np.uint8)
    labels = np.zeros(photo_hw, np.int32)
    picture = overlay(photo, labels, {"cat": 1.0, "dog": 0.0})
    assert picture.width >= 480
    assert max(picture.size) <= 1700
    assert picture.height > photo_hw[0] * 0.1


def test_regions_take_their_class_colour_and_unlabelled_stays_grey() -> None:
    photo = np.full((720, 720, 3), 128, np.uint8)
    labels = np.full((720, 720), -1, np.int32)
    labels[:360] = 1
    pixels = np.asarray(overlay(photo, labels, {"a": 0.0, "b": 0.5}, opacity=1.0))
    np.testing.assert_array_equal(pixels[100, 100], palette(2)[1])
    assert np.ptp(pixels[600, 100].astype(int)) == 0


def test_hidden_classes_stay_as_they_are() -> None:
    photo = np.full((720, 720, 3), (200, 100, 50), np.uint8)
    labels = np.zeros((720, 720), np.int32)
    labels[360:] = 1
    pixels = np.asarray(overlay(photo, labels, {"a": 0.5, "b": 0.5}, opacity=1.0, hidden=[1]))
    np.testing.assert_array_equal(pixels[100, 100], palette(2)[0])
    np.testing.assert_array_equal(pixels[600, 100], photo[600, 100])
    legend = pixels[720:].reshape(-1, 3)
    assert (legend == palette(2)[0]).all(axis=1).any()
    assert not (legend == palette(2)[1]).all(axis=1).any()


def test_a_long_vocabulary_with_long_names_still_draws() -> None:
    areas = {f"{'long name ' * 30}{k}": 1 / 400 for k in range(400)} | {"": 0.0}
    labels = np.arange(400, dtype=np.int32).reshape(20, 20)
    picture = overlay(np.zeros((20, 20, 3), np.uint8), labels, areas)
    assert picture.height < 2500


def test_areas_are_written_for_people() -> None:
    assert [percent(s) for s in (0, 0.0004, 0.034, 0.0996, 0.5)] == [
        "0.0%",
        "<0.1%",
        "3.4%",
        "10%",
        "50%",
    ]
