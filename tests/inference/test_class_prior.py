"""The scene's prior against shares counted by hand."""

import numpy as np
import pytest
from scipy.special import log_expit, softmax

from dpseg.inference.class_prior import (
    ABSENT,
    EVEN_LOGIT,
    LEAST_SHARE,
    class_prior,
    presence_gate,
    presence_probability,
)


def test_prior_is_the_log_of_shares_and_of_the_chance_to_be_there():
    logits = np.random.default_rng(0).normal(scale=3, size=(4, 5, 18)).astype(np.float32)
    share = softmax(logits, axis=0).reshape(4, -1).mean(1)
    best_three = np.sort(logits.reshape(4, -1), axis=1)[:, -3:].mean(1)  # of 90 positions
    expected = np.log(share / share.max()) + log_expit(best_three - EVEN_LOGIT)
    prior = class_prior(logits, 0.5)
    assert prior.shape == (4, 1, 1)
    np.testing.assert_allclose(prior[:, 0, 0], 0.5 * expected, rtol=1e-4)


def test_a_small_sure_object_loses_less_than_a_large_vague_one():
    logits = np.full((3, 10, 12), -6, np.float32)
    logits[0] = 0  # all of the photo a little like this
    logits[1, :2, :2] = 5  # four positions clearly like this
    logits[2, :2, 2:4] = 0.1
    prior = class_prior(logits)[:, 0, 0]
    assert prior[1] > prior[2] + 0.3


def test_a_stray_position_follows_the_scene():
    logits = np.zeros((2, 4, 4), np.float32)
    logits[0], logits[0, 0, 0] = 4, -0.5  # one position is a little more like the other class
    assert logits.argmax(0).sum() == 1
    assert (logits + class_prior(logits, 1.0)).argmax(0).sum() == 0


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_extreme_scores_stay_finite(value):
    logits = np.zeros((3, 2, 2), np.float32)
    logits[1] = value
    prior = class_prior(logits, 1.0)
    assert np.isfinite(prior).all()
    least_presence = log_expit(min(value, 0) - EVEN_LOGIT)
    assert prior.min() >= np.log(LEAST_SHARE) + least_presence - 1e-4


def test_without_weight_there_is_no_prior():
    logits = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)
    assert not class_prior(logits, 0.0).any()


@pytest.mark.parametrize(("classes", "least"), [(1, -1.386), (4, 0.0), (20, 1.609), (80, 2.996)])
def test_names_of_longer_lists_must_be_surer(classes, least):
    logits = np.full((classes, 10, 10), -9, np.float32)
    logits[0, 3, 3] = least + 0.01  # one position of a hundred
    assert presence_gate(logits)[0] == 0
    logits[0, 3, 3] = least - 0.01
    assert presence_gate(logits)[0] == ABSENT


def test_a_lone_outlier_of_many_positions_is_no_presence():
    logits = np.full((20, 100, 100), -9, np.float32)
    logits[0, 0, 0] = 9
    assert presence_gate(logits)[0] == ABSENT
    logits[0, 0] = 9
    assert presence_gate(logits)[0] == 0


def test_presence_is_surer_of_what_shows_surely_and_of_short_lists():
    logits = np.full((4, 20, 20), -6.0, np.float32)
    logits[0, :10] = 5
    logits[1, :2] = 1
    chance = presence_probability([logits], 4)
    assert chance[0] > 0.9 > chance[1] > chance[2] == chance[3]
    assert chance[3] < 0.1
    tile = np.full((4, 20, 20), -6.0, np.float32)
    tile[3] = 5
    assert presence_probability([logits, tile], 4)[3] > 0.3  # a tile shows what the whole misses
    many = np.concatenate([logits, np.full((76, 20, 20), -6.0, np.float32)])
    assert presence_probability([many], 80)[1] < chance[1]
    assert len(presence_probability([many], 4)) == 4
