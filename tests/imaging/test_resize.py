"""Resampling by matrix products."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dpseg.imaging.resize import resize_area, resize_bilinear, resize_nearest

SIZES = [((4, 6), (8, 18)), ((9, 7), (5, 3)), ((1, 3), (4, 4)), ((5, 5), (5, 5))]


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_bilinear_is_torchs(size_in, size_out):
    maps = np.random.default_rng(0).normal(size=(2, *size_in)).astype(np.float32)
    reference = interpolate(
        torch.from_numpy(maps)[None], size_out, mode="bilinear", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(resize_bilinear(maps, size_out), reference, atol=1e-5)


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_area_keeps_the_mean(size_in, size_out):
    maps = np.random.default_rng(0).uniform(size=(2, *size_in)).astype(np.float32)
    resized = resize_area(maps, size_out)
    assert resized.shape == (2, *size_out)
    np.testing.assert_allclose(resized.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), atol=1e-6)


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_nearest_is_torchs(size_in, size_out):
    labels = np.random.default_rng(0).integers(-1, 2000, size_in, dtype=np.int32)
    reference = interpolate(
        torch.from_numpy(labels)[None, None].double(), size_out, mode="nearest-exact"
    )[0, 0].numpy()
    np.testing.assert_array_equal(resize_nearest(labels, size_out), reference)


def test_area_by_a_whole_factor_is_block_means():
    maps = np.random.default_rng(0).uniform(size=(2, 12, 8)).astype(np.float32)
    blocks = maps.reshape(2, 4, 3, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(resize_area(maps, (4, 4)), blocks, atol=1e-6)
