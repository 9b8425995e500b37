"""Pooling regions into visual prompts."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from dpseg.engines.protocol import ImageFeatures
from dpseg.errors import PromptError, ShapeError
from dpseg.prompts.pooling import (
    cluster_positions,
    l2_normalize,
    pool_by_length,
    pool_regions,
)


@pytest.fixture
def features() -> ImageFeatures:
    rng = np.random.default_rng(0)
    return ImageFeatures(
        image_embedding=rng.normal(size=(8, 6, 5)).astype(np.float32),
        image_features={
            3: rng.normal(size=(4, 12, 10)).astype(np.float32),
            2: rng.normal(size=(3, 24, 20)).astype(np.float32),
        },
    )


def test_block_mask_pools_the_mean_of_its_positions(features):
    mask = np.zeros((1, 24, 20), np.float32)
    mask[0, 4:12, 8:16] = 1  # positions 1..2, 2..3 of the 6 x 5 grid
    pooled = pool_regions(features, mask)
    positions = l2_normalize(features.image_embedding, axis=0)[:, 1:3, 2:4].reshape(8, -1)
    np.testing.assert_allclose(
        pooled.class_wise[0], l2_normalize(positions.mean(axis=1)), atol=1e-6
    )
    level = features.image_features[3][:, 2:6, 4:8].reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(pooled.level_wise[3][0], l2_normalize(level), atol=1e-6)


def test_shapes_and_unit_lengths(features):
    masks = np.random.default_rng(1).uniform(size=(3, 17, 23)).astype(np.float32)
    pooled = pool_regions(features, masks, tokens=2)
    assert pooled.class_wise.shape == (3, 8)
    assert pooled.token_wise.shape == (3, 2, 8)
    assert {j: v.shape for j, v in pooled.level_wise.items()} == {3: (3, 4), 2: (3, 3)}
    for vectors in (pooled.class_wise, pooled.token_wise, *pooled.level_wise.values()):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)


def test_one_pixel_selects_its_position(features):
    mask = np.zeros((1, 600, 500), np.float32)
    mask[0, 599, 499] = 1
    pooled = pool_regions(features, mask)
    last = l2_normalize(features.image_embedding[:, -1, -1])
    np.testing.assert_allclose(pooled.class_wise[0], last, atol=1e-5)
    np.testing.assert_allclose(pooled.token_wise[0], np.tile(last, (4, 1)), atol=1e-5)


def test_mask_of_one_pixel_covers_the_whole_picture(features):
    whole = pool_regions(features, np.ones((1, 1, 1), np.float32))
    fine = pool_regions(features, np.ones((1, 24, 20), np.float32))
    np.testing.assert_allclose(whole.class_wise, fine.class_wise, atol=1e-6)


def test_regions_do_not_influence_each_other(features):
    masks = np.random.default_rng(2).uniform(size=(3, 24, 20)).astype(np.float32)
    together = pool_regions(features, masks)
    for index in range(3):
        alone = pool_regions(features, masks[index : index + 1])
        np.testing.assert_allclose(together.token_wise[index], alone.token_wise[0], atol=1e-5)


def test_tokens_find_separate_parts():
    rng = np.random.default_rng(3)
    parts = l2_normalize(rng.normal(size=(3, 16)))
    positions = l2_normalize(np.repeat(parts, 20, axis=0) + 0.05 * rng.normal(size=(60, 16)))
    centres = cluster_positions(positions, np.full((1, 60), 1 / 60, np.float32), 3)[0]
    reference = l2_normalize(KMeans(3, n_init=5, random_state=0).fit(positions).cluster_centers_)
    likeness = centres @ reference.T
    assert sorted(likeness.argmax(axis=1)) == [0, 1, 2]
    np.testing.assert_allclose(likeness.max(axis=1), 1, atol=1e-3)


def test_pooling_is_deterministic(features):
    masks = np.random.default_rng(4).uniform(size=(2, 24, 20)).astype(np.float32)
    first, second = pool_regions(features, masks), pool_regions(features, masks)
    np.testing.assert_array_equal(first.token_wise, second.token_wise)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_values_outside_the_unit_interval_are_refused(features, value):
    masks = np.full((1, 4, 4), 0.5, np.float32)
    masks[0, 1, 1] = value
    with pytest.raises(PromptError, match=r"\[0, 1\]"):
        pool_regions(features, masks)


def test_empty_mask_is_refused(features):
    masks = np.ones((2, 4, 4), np.float32)
    masks[1] = 0
    with pytest.raises(PromptError, match="mask 1 of 2 is empty"):
        pool_regions(features, masks)


def test_wrong_shape_and_token_count_are_refused(features):
    with pytest.raises(ShapeError, match=r"\(4, 4\)"):
        pool_regions(features, np.ones((4, 4), np.float32))
    with pytest.raises(PromptError, match="tokens is 0"):
        pool_regions(features, np.ones((1, 4, 4), np.float32), tokens=0)


def test_no_masks_give_no_prompts(features):
    assert pool_regions(features, np.zeros((0, 4, 4), np.float32)).class_wise.shape == (0, 8)


def test_long_embeddings_count_more_where_positions_are_pooled_by_length(features):
    embedding = features.image_embedding
    masks = np.zeros((2, 6, 5), np.float32)
    masks[0, 1:3, 2:5], masks[1] = 1, 0.5
    found = pool_by_length(features, masks)
    for region, mask in zip(found, masks, strict=True):
        summed = (embedding * mask).sum((1, 2))
        np.testing.assert_allclose(region, summed / np.linalg.norm(summed), atol=1e-5)
