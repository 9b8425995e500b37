"""Crops by number."""

import numpy as np
import pytest
import torch

from dpseg.data.dataset import LabelledFolder
from dpseg.data.transforms import CropSettings
from dpseg.errors import DataError
from dpseg.train.clip.crop_stream import CropStream, Share, load_parts
from labelled_folder import halves, write_folder


@pytest.fixture
def stream(tmp_path):
    samples = {f"s{i}": halves(i, 0, (40 + 8 * i, 80)) for i in range(3)}
    write_folder(tmp_path, {0: "a", 1: "b", 2: "c"}, samples)
    crop = CropSettings(size=32, scale=(1.0, 1.0))
    return CropStream(LabelledFolder(tmp_path, "train"), crop, seed=5)


def classes(item):
    return set(item[1].unique().tolist())


def test_a_number_is_a_crop(stream):
    for number in (0, 7):
        first, again = stream[number], stream[number]
        torch.testing.assert_close(again, first, atol=0, rtol=0)
    assert not torch.equal(stream[0][0], stream[3][0])


def test_the_short_side_fills_the_crop(stream):
    for number in range(6):
        image, label = stream[number]
        assert image.shape == (3, 32, 32)
        assert (label >= 0).all()  # nothing lies outside of the photo


def test_an_epoch_shows_every_photo_once_in_another_order(tmp_path):
    samples = {f"s{i}": halves(i, i) for i in range(6)}
    write_folder(tmp_path, {i: f"c{i}" for i in range(6)}, samples)
    stream = CropStream(LabelledFolder(tmp_path, "train"), CropSettings(size=32), seed=0)
    orders = [[max(classes(stream[6 * e + i])) for i in range(6)] for e in range(3)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert orders[0] != orders[1] or orders[1] != orders[2]


@pytest.mark.parametrize(("accumulate", "processes"), [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4)])
def test_shares_are_the_step_cut_up(accumulate, processes):
    shares = [Share(8, accumulate, processes, rank) for rank in range(processes)]
    for step in (0, 3):
        numbers = [n for share in shares for part in share.numbers(step) for n in part]
        assert sorted(numbers) == list(range(8 * step, 8 * step + 8))
        assert all(len(share.numbers(step)) == accumulate for share in shares)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(DataError, match="multiple of accumulate"):
        Share(6, 2, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_begins_at_any_step(stream, workers):
    share = Share(2)
    parts = load_parts(stream, share, step=0, workers=0)
    expected = [next(parts) for _ in range(4)]
    later = load_parts(stream, share, step=2, workers=workers)
    for images, labels in expected[2:]:
        torch.testing.assert_close(next(later), [images, labels], atol=0, rtol=0)
    np.testing.assert_array_equal(expected[1][1][0], stream[2][1])
