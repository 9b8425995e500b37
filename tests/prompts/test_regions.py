"""Regions of pictures as prompts."""

import numpy as np
import pytest

from colour_engine import COLOURS, paint
from dpseg.errors import PromptError, ShapeError
from dpseg.prompts.regions import (
    MIN_CROP,
    check_frame,
    crop_region,
    crops_for,
    encode_region,
    fit_picture,
)

RED, BLUE = list(COLOURS).index("red"), list(COLOURS).index("blue")


@pytest.mark.parametrize("size", [(1, 1), (4000, 30), (96, 96), (500, 333), (20, 40)])
def test_pictures_fit_the_model(engine, size):
    fitted = fit_picture(np.zeros((*size, 3), np.uint8), engine.info)
    assert fitted.dtype == np.uint8
    assert all(side % 8 == 0 and 8 <= side <= 96 for side in fitted.shape[:2])


def test_a_picture_that_fits_is_left_alone(engine):
    image = paint()
    assert fit_picture(image, engine.info) is image


def test_a_crop_has_the_object_and_some_context():
    mask = np.zeros((96, 96), np.float32)
    mask[30:70, 20:60] = 1
    part, part_mask = crop_region(paint(("red", 30, 70, 20, 60)), mask)
    assert part.shape == (60, 60, 3)
    assert part_mask.sum() == mask.sum()


def test_a_coarse_mask_crops_the_same_frame():
    mask = np.zeros((12, 12), np.float32)
    mask[4:8, 4:8] = 1
    part, part_mask = crop_region(paint(("red", 32, 64, 32, 64)), mask)
    assert part.shape[:2] == part_mask.shape == (48, 48)


def test_a_three_pixel_region_gets_surroundings():
    mask = np.zeros((96, 96), np.float32)
    mask[0, :3] = 1
    part, _ = crop_region(paint(), mask)
    assert min(part.shape[:2]) >= MIN_CROP // 2  # cut by the picture's edge
    with pytest.raises(PromptError, match="empty"):
        crop_region(paint(), np.zeros((96, 96), np.float32))


def test_a_region_is_encoded_as_what_it_shows(engine):
    mask = np.zeros((96, 96), np.float32)
    mask[30:70, 20:60] = 1
    row = encode_region(engine, paint(("red", 30, 70, 20, 60)), mask)
    assert row.class_wise[0].argmax() == RED
    assert row.token_wise.shape == (1, 4, 12)


def test_crops_of_labelled_pictures(engine):
    image = paint(("red", 0, 48, 0, 96), ("blue", 48, 96, 0, 96))
    label = np.repeat([[0], [5]], 48, axis=0).repeat(96, axis=1)
    label[0, 0] = 7  # too small
    samples = iter([(image, label)] * 5)
    found = crops_for(engine, samples, [0, 5, 7, 9], per_class=2)
    assert {index: len(rows.class_wise) for index, rows in found.items()} == {0: 2, 5: 2}
    assert found[0].class_wise[0].argmax() == RED
    assert found[5].class_wise[0].argmax() == BLUE


def test_crops_stop_reading_when_all_is_found(engine):
    samples = iter([(paint(), np.zeros((96, 96), int))] * 3)
    crops_for(engine, samples, [0], per_class=1)
    assert len(list(samples)) == 2
    with pytest.raises(ShapeError, match="differ in size"):
        crops_for(engine, [(paint(), np.zeros((3, 3), int))], [0])


def test_masks_of_another_aspect_are_refused():
    check_frame(np.zeros((333, 500, 3), np.uint8), np.zeros((33, 50), np.float32))
    with pytest.raises(PromptError, match="500 x 333"):
        check_frame(np.zeros((333, 500, 3), np.uint8), np.zeros((50, 33), np.float32))
