"""CAT-Seg's aggregator: attention within windows of each class's map, then between the classes.

Every layer has two window blocks, the second on windows that are shifted by half, both under the
image's guidance, and a class block under the text's. The class block was trained on vocabularies
that were padded to a fixed length with a learned class, which goes on taking part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpseg.model.class_attention import attend as attend_linearly
from dpseg.model.class_attention import attention_sums
from dpseg.model.guided_attention import attend, guided

WINDOW = 12  # side in positions; the sides of a map are multiples of it
PADDED_CLASSES = 256
_APART = -100.0  # between positions that only the shift made neighbours
_EXPANSION = 4


class WindowBlock(nn.Module):
    """Attention within windows of each class's map, and an MLP.

    Queries and keys depend on the image's guidance, values do not.

    Args:
        channels: C of the class maps, and of the guidance.
        heads: attention heads; divides C.
        shift: of the windows, in positions.

    Source: CAT-Seg, spatial aggregation; Swin blocks of Liu et al. 2021 without position bias.
    """

    def __init__(self, *, channels: int, heads: int, shift: int) -> None:
        super().__init__()
        self.heads, self.shift = heads, shift
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(2 * channels, channels)
        self.key = nn.Linear(2 * channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, _EXPANSION * channels),
            nn.GELU(),
            nn.Linear(_EXPANSION * channels, channels),
        )

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Refine class maps, S h w C, under the image's guidance, 1 h w C."""
        size_hw = (x.shape[1], x.shape[2])
        tokens = self.norm(x)
        query, key = (guided(layer, tokens, guidance) for layer in (self.query, self.key))
        query, key, value = (
            windows_of(one.roll((-self.shift,) * 2, (1, 2)))
            for one in (query, key, self.value(tokens))
        )  # S n (w w) C
        mask = shifted_mask(size_hw, self.shift, x.device)[:, None] if self.shift else None
        mixed = maps_of(attend(query, key, value, self.heads, mask), size_hw)
        x = x + self.output(mixed.roll((self.shift,) * 2, (1, 2)))
        refined: Tensor = x + self.mlp(self.mlp_norm(x))
        return refined


class PaddedClassBlock(nn.Module):
    """Linear attention among the classes at each position, and an MLP.

    Args:
        channels: C of the class maps, and of the guidance.
        heads: attention heads; divides C.

    Source: CAT-Seg, class aggregation.
    """

    def __init__(self, *, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(2 * channels, channels)
        self.key = nn.Linear(2 * channels, channels)
        self.value = nn.Linear(channels, channels)
        self.padding = nn.Parameter(torch.zeros(channels))
        self.padding_guidance = nn.Parameter(torch.zeros(channels))
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, _EXPANSION * channels),
            nn.ReLU(),
            nn.Linear(_EXPANSION * channels, channels),
        )

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Attend between the classes at each position.

        Args:
            x: S h w C.
            guidance: of the text, S C.

        Returns:
            S h w C. As published, x is in it twice: the block has a residual connection inside
            and one around.
        """
        query, sums = self._projected(x, guidance[:, None, None])
        padding, alike = self.padding[None, None, None], self.padding_guidance
        missing = max(0, PADDED_CLASSES - len(x))
        sums = sums + missing * self._projected(padding, alike)[1]  # they are all the same
        mixed = attend_linearly(query, sums)  # h w heads S c
        y = x + mixed.permute(3, 0, 1, 2, 4).flatten(3)  # S h w C
        refined: Tensor = x + y + self.mlp(self.mlp_norm(y))
        return refined

    def _projected(self, x: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Compute queries, h w heads S c, and sums over the classes, h w heads c (c 1)."""
        tokens = self.norm(x)
        query, key, value = (
            torch.unflatten(one, -1, (self.heads, -1)).permute(1, 2, 3, 0, 4)
            for one in (
                guided(self.query, tokens, guidance),
                guided(self.key, tokens, guidance),
                self.value(tokens),
            )
        )  # h w heads S c
        return query, attention_sums(key, value)


class CatSegLayer(nn.Module):
    """Two window blocks, then a class block.

    Args:
        channels: C of the class maps and of both guidances.
        heads: attention heads; divides C.

    Source: CAT-Seg, aggregator.
    """

    def __init__(self, *, channels: int, heads: int) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(channels)
        self.windows = nn.ModuleList(
            WindowBlock(channels=channels, heads=heads, shift=shift) for shift in (0, WINDOW // 2)
        )
        self.classes = PaddedClassBlock(channels=channels, heads=heads)

    def forward(
        self, x: Tensor, image: Tensor, text: Tensor, class_chunk: int | None = None
    ) -> Tensor:
        """Refine class maps.

        Args:
            x: S h w C; sides are multiples of `WINDOW`.
            image: guidance of the image, 1 h w C.
            text: guidance of the text, S C.
            class_chunk: classes in the window blocks at a time, which bounds memory and changes
                nothing else; None takes all.

        Returns:
            S h w C.
        """
        guidance = self.guidance_norm(image)
        parts = (x,) if class_chunk is None else torch.split(x, class_chunk)
        for block in self.windows:
            parts = tuple(block(part, guidance) for part in parts)
        refined: Tensor = self.classes(torch.cat(parts), text)
        return refined


def windows_of(x: Tensor) -> Tensor:
    """Cut maps into windows, S h w C to S n (w w) C."""
    rows = torch.unflatten(x, 1, (-1, WINDOW))  # S h' w w' C
    cells = torch.unflatten(rows, 3, (-1, WINDOW)).transpose(2, 3)  # S h' w' w w C
    return cells.flatten(3, 4).flatten(1, 2)


def maps_of(windows: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Undo `windows_of`, S n (w w) C to S h w C."""
    across = size_hw[1] // WINDOW
    cells = torch.unflatten(torch.unflatten(windows, 1, (-1, across)), 3, (WINDOW, WINDOW))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shifted_mask(size_hw: tuple[int, int], shift: int, device: torch.device) -> Tensor:
    """Keep apart, in windows that were shifted around the edge, what lies at opposite edges.

    Args:
        size_hw: of the map.
        shift: in positions.
        device: where to make it.

    Returns:
        To be added before the softmax, n (w w) (w w).

    Source: Swin transformer.
    """
    down, across = (_sides(length, shift, device) for length in size_hw)
    regions = 2 * down[:, None] + across  # h w: a number for each side of both edges
    inside = windows_of(regions[None, ..., None])[0, ..., 0]  # n (w w)
    different = inside[:, :, None] != inside[:, None]
    return _APART * different.float()


def _sides(length: int, shift: int, device: torch.device) -> Tensor:
    """Tell which positions of a shifted side came around its end: 1 for these, else 0."""
    return (torch.arange(length, device=device) >= length - shift).long()
