"""Attention of class maps under a guidance that they share.

Guidance stands behind the channels of every class's tokens, and is the same for all classes, or for
all positions. What it adds to a linear map is therefore computed once and broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def guided(layer: nn.Linear, tokens: Tensor, guidance: Tensor) -> Tensor:
    """Apply a layer to tokens with shared guidance behind their channels.

    Args:
        layer: of C + G channels.
        tokens: ... C.
        guidance: ... G, of a shape that broadcasts to the tokens'.

    Returns:
        ... C'.
    """
    channels = tokens.shape[-1]
    shared = F.linear(guidance, layer.weight[:, channels:], layer.bias)
    return F.linear(tokens, layer.weight[:, :channels]) + shared


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None
) -> Tensor:
    """Attend by softmax, in several heads.

    Args:
        query: ... L C.
        key: ... L' C.
        value: ... L' C.
        heads: attention heads; divides C.
        mask: added before the softmax, of a shape that broadcasts to ... heads L L'.

    Returns:
        ... L C.
    """
    query, key, value = (
        torch.unflatten(one, -1, (heads, -1)).transpose(-3, -2) for one in (query, key, value)
    )  # ... heads L c
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(-3, -2).flatten(-2)
