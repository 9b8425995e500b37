"""Cost volumes against plain cosines."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.nn import functional as F

from dpseg.errors import ShapeError
from dpseg.model.cost_volume import cost_volume, joint_cost_volume, token_cost_volume

STRATEGIES = ("text", "visual", "average", "concatenate", "average_cost")


def cosines(image, vectors):
    """Compare B D H W with K M D by torch's own cosine: B K M H W."""
    return F.cosine_similarity(image[:, None, None], vectors[None, ..., None, None], dim=3)


def test_compares_every_position_with_every_prompt(normal):
    image, prompts = 7 * normal(2, 5, 3, 4), 0.1 * normal(6, 2, 5)
    torch.testing.assert_close(cost_volume(image, prompts), cosines(image, prompts))


def test_zero_vectors_resemble_nothing(normal):
    image, prompts = normal(1, 5, 2, 2), normal(3, 2, 5)
    image[0, :, 1, 0] = 0
    prompts[2, 1] = 0
    cost = cost_volume(image, prompts)
    assert (cost[0, :, :, 1, 0] == 0).all()
    assert (cost[0, 2, 1] == 0).all()
    assert (cost[0, :2, :, 0] != 0).all()


def test_embedding_sizes_that_differ_are_both_named(normal):
    with pytest.raises(ShapeError, match=r"D=5.*D=4"):
        cost_volume(normal(1, 5, 2, 2), normal(3, 2, 4))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_join_text_and_pictures(normal, strategy):
    image, text, visual = normal(2, 5, 3, 4), 3 * normal(6, 2, 5), 9 * normal(6, 2, 5)
    found = joint_cost_volume(image, text, visual, torch.ones(6, dtype=torch.bool), strategy)
    unit_text = text / text.norm(dim=-1, keepdim=True)
    unit_visual = visual / visual.norm(dim=-1, keepdim=True)
    by_text, by_visual = cosines(image, text), cosines(image, visual)
    expected = {
        "text": by_text,
        "visual": by_visual,
        "average": cosines(image, unit_text + unit_visual),
        "concatenate": torch.cat([by_text, by_visual], dim=2),
        "average_cost": (by_text + by_visual) / 2,
    }[strategy]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_class_without_picture_speaks_by_its_text(normal, strategy):
    image, text, visual = normal(1, 5, 3, 4), normal(4, 2, 5), normal(4, 2, 5)
    visual[1] = float("nan")
    has_picture = torch.tensor([True, False, True, True])
    cost = joint_cost_volume(image, text, visual, has_picture, strategy)
    alone = cosines(image, text)[:, 1]
    expected = torch.cat([alone, alone], dim=1) if strategy == "concatenate" else alone
    torch.testing.assert_close(cost[:, 1], expected)
    assert cost.isfinite().all()


def test_token_cost_is_the_log_mean_exp_over_the_tokens_there(normal):
    image, tokens, temperature = normal(2, 5, 3, 4), normal(4, 6, 5), 0.07
    mask = torch.from_numpy(np.random.default_rng(0).random((4, 6)) < 0.6)
    mask[:, 0] = True
    cost = token_cost_volume(image, tokens, mask, temperature)
    assert cost.shape == (2, 4, 1, 3, 4)
    cosine = cosines(image, tokens).double().numpy()
    for name in range(4):
        there = cosine[:, name, mask[name].numpy()]  # B L' H W
        expected = temperature * logsumexp(there / temperature, axis=1, b=1 / there.shape[1])
        np.testing.assert_allclose(cost[:, name, 0], expected, atol=1e-5)


def test_repeating_a_token_changes_nothing(normal):
    image, tokens = normal(1, 5, 3, 4), normal(2, 3, 5)
    once = token_cost_volume(image, tokens, torch.ones(2, 3, dtype=torch.bool), 0.05)
    twice = token_cost_volume(image, tokens.repeat(1, 2, 1), torch.ones(2, 6, dtype=bool), 0.05)
    torch.testing.assert_close(once, twice)


def test_tokens_that_are_not_there_do_not_speak(normal):
    image, tokens = normal(1, 5, 3, 4), normal(2, 3, 5)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    cost = token_cost_volume(image, tokens, mask, 0.05)
    shorter = token_cost_volume(image, tokens[:1, :2], mask[:1, :2], 0.05)
    torch.testing.assert_close(cost[:, :1], shorter)
    assert (cost[:, 1] == 0).all()


def test_class_without_tokens_leaves_gradients_finite(normal):
    image = normal(1, 5, 3, 4).requires_grad_()
    mask = torch.tensor([[True, True], [False, False]])
    token_cost_volume(image, normal(2, 2, 5), mask, 0.05).sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.abs().sum() > 0
