"""Attention between classes."""

import pytest
import torch
from torch.nn import functional as F

from dpseg.model.class_attention import ClassAttention, attend, attention_sums

CLASSES, BATCH = 5, 2


def among_all(attention, x):
    """Let all classes, (K B) C H W, see each other."""
    return attention(x, attention.sums([x], BATCH))


def by_class(x):
    return x.unflatten(0, (-1, BATCH))  # K B C H W


def test_equals_the_quadratic_form(normal):
    query, key, value = normal(2, 3, 7, 4), normal(2, 3, 7, 4), normal(2, 3, 7, 4)
    weights = (F.elu(query) + 1) @ (F.elu(key) + 1).mT  # ... K K
    expected = weights / weights.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(attend(query, attention_sums(key, value)), expected)


def test_reordered_classes_reorder_the_result(normal):
    attention, x = ClassAttention(channels=6, heads=2), normal(CLASSES * BATCH, 6, 3, 4)
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = by_class(among_all(attention, x))
    reordered = among_all(attention, by_class(x)[order].flatten(0, 1))
    torch.testing.assert_close(by_class(reordered), plain[order])


def test_classes_see_each_other_at_the_same_position_only(normal):
    attention, x = ClassAttention(channels=6, heads=2), normal(CLASSES * BATCH, 6, 3, 4)
    changed = by_class(x).clone()
    changed[2, 1, :, 0, 3] += normal(6)
    change = among_all(attention, changed.flatten(0, 1)) - among_all(attention, x)
    moved = by_class(change).abs().amax(2) > 1e-6  # K B H W
    expected = torch.zeros_like(moved)
    expected[:, 1, 0, 3] = True
    torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_few_classes_at_a_time_see_all_the_others(normal, classes):
    attention, x = ClassAttention(channels=6, heads=2), normal(CLASSES * BATCH, 6, 3, 4)
    parts = x.split(classes * BATCH)
    sums = attention.sums(parts, BATCH)
    found = torch.cat([attention(part, sums) for part in parts])
    torch.testing.assert_close(found, among_all(attention, x))


def test_heads_attend_apart(normal):
    attention, x = ClassAttention(channels=4, heads=2), normal(3, 4, 1, 1)
    tokens = attention.norm(x[:, :, 0, 0])  # K C
    query, key, value = attention.query_key_value(tokens).split(4, dim=-1)
    mixed = [
        F.normalize((F.elu(query[:, part]) + 1) @ (F.elu(key[:, part]) + 1).T, p=1, dim=-1)
        @ value[:, part]
        for part in (slice(0, 2), slice(2, 4))
    ]
    expected = x[:, :, 0, 0] + attention.output(torch.cat(mixed, dim=-1))
    found = attention(x, attention.sums([x], 1))
    torch.testing.assert_close(found[:, :, 0, 0], expected)
