"""Attention between the classes at each position, linear in their number.

Which class a position belongs to depends on which others are asked for. The attention treats
classes as a set: reordering the vocabulary reorders the result and changes nothing else. Each class
depends on the others through sums over them alone, so a large vocabulary can come a few classes at
a time: the sums first, then the output of each class.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

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

    def sums(self, parts: Iterable[Tensor], batch: int) -> Tensor:
        """Sum keys, and products of keys and values, over the classes at each position.

        Args:
            parts: of the K classes, each (k B) C H W.
            batch: B.

        Returns:
            What `forward` needs of all K classes, B H W heads c (c 1).
        """
        return reduce(torch.add, (self._sums_of(part, batch) for part in parts))

    def _sums_of(self, x: Tensor, batch: int) -> Tensor:
        channels = x.shape[1]
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        projected = F.linear(self._tokens(x), weight[channels:], bias[channels:])
        pairs = torch.unflatten(projected, -1, (2, self.heads, -1))  # (k B) H W 2 heads c
        key, value = (_by_position(one, batch) for one in pairs.unbind(-3))  # B H W heads k c
        return attention_sums(key, value).float()

    def forward(self, x: Tensor, sums: Tensor) -> Tensor:
        """Attend from each class to all classes, through their sums.

        Args:
            x: some or all of the classes, (k B) C H W.
            sums: over all of them, B H W heads c (c 1).

        Returns:
            (k B) C H W.
        """
        channels = x.shape[1]
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        projected = F.linear(self._tokens(x), weight[:channels], bias[:channels])
        query = torch.unflatten(projected, -1, (self.heads, -1))  # (k B) H W heads c
        mixed = attend(_by_position(query, sums.shape[0]), sums)  # B H W heads k c
        attended: Tensor = self.output(mixed.movedim(-2, 0).flatten(0, 1).flatten(-2))
        return x + attended.permute(0, 3, 1, 2)  # (k B) C H W

    def _tokens(self, x: Tensor) -> Tensor:
        """Normalise over channels, (k B) C H W to (k B) H W C."""
        tokens: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return tokens


def attention_sums(key: Tensor, value: Tensor) -> Tensor:
    """Sum over a sequence what linear attention needs of it.

    Args:
        key: ... K c.
        value: ... K d.

    Returns:
        ... c (d 1): the weighted values, and behind them the weights alone. The sums of two
        sequences add up to those of both.

    Source: Katharopoulos et al. 2020, equation 5.
    """
    key = _positive(key)
    return torch.cat([key.transpose(-2, -1) @ value, key.sum(-2)[..., None]], dim=-1)


def attend(query: Tensor, sums: Tensor) -> Tensor:
    """Attend with the feature map elu + 1; cost grows linearly with the sequence.

    Args:
        query: ... K c.
        sums: of keys and values, ... c (d 1).

    Returns:
        ... K d.

    Source: Katharopoulos et al. 2020, equation 5.
    """
    answer = _positive(query) @ sums  # ... K (d 1)
    return answer[..., :-1] / answer[..., -1:].clamp_min(1e-6)


def _by_position(x: Tensor, batch: int) -> Tensor:
    """Bring classes and channels together, (k B) H W heads c to B H W heads k c."""
    return torch.unflatten(x, 0, (-1, batch)).movedim(0, -2)


def _positive(x: Tensor) -> Tensor:
    """Map to elu(x) + 1, in two operations that are quick in bfloat16 on a CPU."""
    return x.clamp(max=0).exp() + F.relu(x)
