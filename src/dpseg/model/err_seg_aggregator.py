"""ERR-Seg's aggregator: attention over the positions of each class, then over the classes.

Every layer is a spatial block, in which the positions of each class's map attend to one another
under the image's guidance, and a class block, in which the classes at each position attend to one
another under the text's guidance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.model.guided_attention import attend, guided

_KERNEL = 7


class GatedMLP(nn.Module):
    """Two projections, one of which gates the other, and a third.

    Args:
        channels: C of input and output.
        hidden: width between.

    Source: ERR-Seg, decoder; gated by a clipped ReLU.
    """

    def __init__(self, *, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(channels, hidden)
        self.value = nn.Linear(channels, hidden)
        self.output = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ... C to the same shape."""
        mapped: Tensor = self.output(F.relu6(self.gate(x)) * self.value(x))
        return mapped


class SpatialBlock(nn.Module):
    """Attention among the positions of each class's map, and a gated MLP.

    Keys and values are reduced to half the resolution. Queries and keys depend on the image's
    guidance, values do not.

    Args:
        channels: C of the class maps, and of the guidance.
        heads: attention heads; divides C.
        hidden: width of the MLP.

    Source: ERR-Seg, spatial fusion.
    """

    def __init__(self, *, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(2 * channels, channels)
        self.reduce_key = nn.Conv2d(2 * channels, 2 * channels, 2, stride=2)
        self.key_norm = nn.LayerNorm(2 * channels)
        self.key = nn.Linear(2 * channels, channels)
        self.reduce_value = nn.Conv2d(channels, channels, 2, stride=2)
        self.value_norm = nn.LayerNorm(channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = GatedMLP(channels=channels, hidden=hidden)
        self.depthwise = nn.Conv2d(channels, channels, _KERNEL, padding=3, groups=channels)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Refine class maps.

        Args:
            x: S C h w.
            guidance: of the image, 1 C h w.

        Returns:
            S C h w.
        """
        channels, size_hw = x.shape[1], x.shape[-2:]
        tokens: Tensor = self.norm(_last(x))  # S h w C
        maps = _first(tokens)  # S C h w
        query = guided(self.query, tokens, _last(guidance))  # S h w C
        weight = self.reduce_key.weight
        reduced = F.conv2d(maps, weight[:, :channels], stride=2) + F.conv2d(
            guidance, weight[:, channels:], self.reduce_key.bias, stride=2
        )  # S 2C h/2 w/2
        key = self.key(self.key_norm(_last(reduced)))  # S h/2 w/2 C
        value = self.value(self.value_norm(_last(self.reduce_value(maps))))
        query, key, value = (one.flatten(1, 2) for one in (query, key, value))  # S (h w) C
        attended = attend(query, key, value, self.heads)  # S (h w) C
        attended = torch.unflatten(attended, 1, size_hw)  # S h w C
        x = x + _first(self.output(attended))
        hidden = self.mlp(self.mlp_norm(_last(x)))  # S h w C
        refined: Tensor = x + self.depthwise(_first(hidden))
        return refined


class ClassBlock(nn.Module):
    """Attention among the classes at each position, on pooled maps, and a gated MLP.

    Args:
        channels: C of the class maps, and of the guidance.
        heads: attention heads; divides C.
        hidden: width of the MLP.
        pool: side of the pooling window.

    Source: ERR-Seg, class fusion.
    """

    def __init__(self, *, channels: int, heads: int, hidden: int, pool: int = 2) -> None:
        super().__init__()
        self.heads, self.pool = heads, pool
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(2 * channels, channels)
        self.key = nn.Linear(2 * channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = GatedMLP(channels=channels, hidden=hidden)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Attend between the classes at each position.

        Args:
            x: S C h w.
            guidance: of the text, S C.

        Returns:
            S C h w.
        """
        pooled = F.avg_pool2d(x, self.pool)  # S C h/2 w/2
        positions = pooled.flatten(2).permute(2, 0, 1)  # (h/2 w/2) S C
        tokens = self.norm(positions)
        query, key = (guided(layer, tokens, guidance) for layer in (self.query, self.key))
        positions = positions + self.output(attend(query, key, self.value(tokens), self.heads))
        positions = positions + F.relu6(self.mlp(self.mlp_norm(positions)))
        maps = torch.unflatten(positions.permute(1, 2, 0), 2, pooled.shape[-2:])  # S C h/2 w/2
        return x + F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=True)


class AggregatorLayer(nn.Module):
    """A spatial block, then a class block.

    Args:
        channels: C of the class maps and of both guidances.
        heads: attention heads; divides C.
        hidden: width of the MLPs.

    Source: ERR-Seg, aggregator.
    """

    def __init__(self, *, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.spatial = SpatialBlock(channels=channels, heads=heads, hidden=hidden)
        self.classes = ClassBlock(channels=channels, heads=heads, hidden=hidden)

    def forward(
        self, x: Tensor, image: Tensor, text: Tensor, class_chunk: int | None = None
    ) -> Tensor:
        """Refine class maps.

        Args:
            x: S C h w.
            image: guidance of the image, 1 C h w.
            text: guidance of the text, S C.
            class_chunk: classes in the spatial block at a time, which bounds memory and changes
                nothing else; None takes all.

        Returns:
            S C h w.
        """
        parts = (x,) if class_chunk is None else torch.split(x, class_chunk)
        refined: Tensor = self.classes(torch.cat([self.spatial(p, image) for p in parts]), text)
        return refined


def _last(x: Tensor) -> Tensor:
    """S C h w to S h w C."""
    return x.permute(0, 2, 3, 1)


def _first(x: Tensor) -> Tensor:
    """S h w C to S C h w."""
    return x.permute(0, 3, 1, 2)
