"""Attention between classes."""

import torch
from torch.nn import functional as F

from dpseg.model.class_attention import ClassAttention, linear_attention


def test_equals_the_quadratic_form(normal):
    query, key, value = normal(2, 3, 7, 4), normal(2, 3, 7, 4), normal(2, 3, 7, 4)
    weights = (F.elu(query) + 1) @ (F.elu(key) + 1).mT  # ... K K
    expected = weights / weights.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(linear_attention(query, key, value), expected)


def test_reordered_classes_reorder_the_result(normal):
    attention, x = ClassAttention(channels=6, heads=2), normal(2, 5, 6, 3, 4)
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = attention(x.flatten(0, 1), 5).unflatten(0, (2, 5))
    reordered = attention(x[:, order].flatten(0, 1), 5).unflatten(0, (2, 5))
    torch.testing.assert_close(reordered, plain[:, order])


def test_classes_see_each_other_at_the_same_place_only(normal):
    attention, x = ClassAttention(channels=6, heads=2), normal(2, 5, 6, 3, 4)
    changed = x.clone()
    changed[1, 2, :, 0, 3] += normal(6)
    change = attention(changed.flatten(0, 1), 5) - attention(x.flatten(0, 1), 5)
    moved = change.unflatten(0, (2, 5)).abs().amax(2) > 1e-6  # B K H W
    expected = torch.zeros_like(moved)
    expected[1, :, 0, 3] = True
    torch.testing.assert_close(moved, expected)


def test_heads_attend_apart(normal):
    attention, x = ClassAttention(channels=4, heads=2), normal(3, 4, 1, 1)
    tokens = attention.norm(x[:, :, 0, 0])  # K C
    query, key, value = attention.query_key_value(tokens).split(4, dim=-1)
    mixed = [
        linear_attention(query[:, part], key[:, part], value[:, part])
        for part in (slice(0, 2), slice(2, 4))
    ]
    expected = x[:, :, 0, 0] + attention.output(torch.cat(mixed, dim=-1))
    torch.testing.assert_close(attention(x, 3)[:, :, 0, 0], expected)
