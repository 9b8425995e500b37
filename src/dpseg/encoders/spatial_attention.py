"""Self-attention between all positions of an image, so that each depends on its surroundings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_HEAD_DIM = 64


class SpatialAttention(nn.Module):
    """Apply self-attention over all positions, then an MLP to each position.

    There is no position code: the convolutions before it carry position, and so images of any size
    and aspect can be read. Both branches start at zero, so that a new block changes nothing.

    Args:
        channels: C, a multiple of 64.

    Source: transformer block, pre-norm (dpseg choice: a small tower recognises objects by their
    surroundings; docs/log/experiments.md).
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.attention_out = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        mlp_out = nn.Linear(2 * channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), mlp_out)
        for last in (self.attention_out, mlp_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions, B h w C to the same."""
        positions = x.flatten(1, 2)  # B (h w) C
        query, key, value = (
            torch.unflatten(part, 2, (-1, _HEAD_DIM)).transpose(1, 2)  # B heads (h w) 64
            for part in self.query_key_value(self.attention_norm(positions)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        positions = positions + self.attention_out(mixed.transpose(1, 2).flatten(2))  # B (h w) C
        thought: Tensor = positions + self.mlp(self.mlp_norm(positions))
        return thought.view_as(x)
