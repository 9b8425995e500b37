"""Attention between the classes at each place, linear in their number.

Which class a place belongs to depends on which others are asked for. The attention treats classes
as a set: reordering the vocabulary reorders the result and changes nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClassAttention(nn.Module):
    """Linear self-attention over K, with a residual connection.

    Args:
        channels: C of input and output.
        heads: attention heads; divides C.
        output: whether the heads are mixed before the residual connection.

    Source: DPSeg decoder stage, class attention; linear attention of Katharopoulos et al. 2020.
    """

    def __init__(self, *, channels: int, heads: int, output: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels) if output else nn.Identity()

    def forward(self, x: Tensor, classes: int) -> Tensor:
        """Let the classes at each place see each other.

        Args:
            x: (B K) C H W.
            classes: K.

        Returns:
            (B K) C H W.
        """
        _, channels, height, width = x.shape
        grouped = x.reshape(-1, classes, channels, height, width)  # B K C H W
        tokens = grouped.permute(0, 3, 4, 1, 2)  # B H W K C
        projected: Tensor = self.query_key_value(self.norm(tokens))  # B H W K (3 C)
        heads = torch.unflatten(projected, -1, (3, self.heads, -1))  # B H W K 3 heads c
        query, key, value = heads.movedim(-3, 0).transpose(-3, -2)  # 3: B H W heads K c
        mixed = linear_attention(query, key, value).transpose(-3, -2).flatten(-2)  # B H W K C
        attended: Tensor = self.output(mixed)
        out = (tokens + attended).permute(0, 3, 4, 1, 2)  # B K C H W
        return out.reshape(-1, channels, height, width)  # (B K) C H W


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with the feature map elu + 1; cost grows linearly with the sequence.

    Args:
        query: ... K c.
        key: ... K c.
        value: ... K c.

    Returns:
        ... K c.

    Source: Katharopoulos et al. 2020, equation 5.
    """
    query, key = _positive(query), _positive(key)
    context = key.transpose(-2, -1) @ value  # ... c c
    normaliser = query @ key.sum(-2, keepdim=True).transpose(-2, -1)  # ... K 1
    return query @ context / normaliser.clamp_min(1e-6)


def _positive(x: Tensor) -> Tensor:
    """Map to elu(x) + 1, in two operations that are quick in bfloat16 on a CPU."""
    return x.clamp(max=0).exp() + F.relu(x)
