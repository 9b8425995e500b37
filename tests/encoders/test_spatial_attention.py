"""Attention over positions against sums written out."""

import pytest
import torch

from dpseg.encoders.spatial_attention import SpatialAttention


@pytest.fixture
def block(normal):
    block = SpatialAttention(channels=128)
    for parameter in block.parameters():
        parameter.data.copy_(0.2 * normal(*parameter.shape))
    return block.requires_grad_(False)


def test_a_new_block_changes_nothing(normal):
    x = normal(2, 3, 4, 64)
    torch.testing.assert_close(SpatialAttention(channels=64)(x), x, atol=0, rtol=0)


def test_every_position_looks_at_every_other(block, normal):
    x = normal(2, 3, 4, 128)
    rows = x.reshape(2, 12, 128)
    query, key, value = block.query_key_value(block.attention_norm(rows)).split(128, dim=-1)
    mixed = torch.empty_like(rows)
    for head in (slice(0, 64), slice(64, 128)):
        likeness = query[..., head] @ key[..., head].transpose(1, 2) / 8
        mixed[..., head] = likeness.softmax(-1) @ value[..., head]
    rows = rows + block.attention_out(mixed)
    rows = rows + block.mlp(block.mlp_norm(rows))
    torch.testing.assert_close(block(x), rows.reshape_as(x), atol=1e-4, rtol=1e-4)


def test_positions_have_no_order(block, normal):
    x = normal(1, 2, 6, 128)
    turned = block(x.transpose(1, 2).contiguous()).transpose(1, 2)
    torch.testing.assert_close(turned, block(x), atol=1e-4, rtol=1e-4)
