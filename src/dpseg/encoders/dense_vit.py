"""Vision transformers read densely, without training: an embedding for every patch.

A tower that was trained on captions has one token in the joint space. Its last block mixes all
patches into that token, and into each other, so that a patch's token no longer describes that
patch. The readings here change that block alone; all before it is the library's own.
"""

from __future__ import annotations

from itertools import product
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Reading: TypeAlias = Literal["value", "naclip", "class token"]
SIGMA = 5.0  # of the window around a patch, in patches


class DenseViT(Protocol):
    """The parts of a vision transformer that a dense reading needs."""

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""

    @property
    def heads(self) -> int:
        """Heads of the last block's attention."""

    def before_last(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Run all but the last block: tokens B N C, and rows and columns of patches.

        Tokens that are no patches stand first.
        """

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the last block's keys and values behind its norm, each B N C."""

    def attended(self, mixed: Tensor) -> Tensor:
        """Bring mixed values, B N C, through the attention's output."""

    def mlp(self, tokens: Tensor) -> Tensor:
        """Compute what the last block's MLP adds to tokens, B N C."""

    def project(self, tokens: Tensor) -> Tensor:
        """Bring each token by itself into the joint space, B N C to B N D."""


def read_densely(tower: DenseViT, pixels: Tensor, reading: Reading) -> Tensor:
    """Embed every patch.

    Args:
        tower: the transformer.
        pixels: normalised, B 3 H W, sides multiples of the patch.
        reading: `"value"` lets every patch keep its own value in place of attention;
            `"class token"` does too, and takes the class token in place of the patch's residual;
            `"naclip"` lets it attend to patches of similar keys around it, without residual and
            MLP.

    Returns:
        B D h w, not normalised.

    Source: MaskCLIP, TIPSv2 (value); CAT-Seg (class token); NACLIP.
    """
    return read_last_block(tower, *tower.before_last(pixels), reading)


def read_last_block(
    tower: DenseViT, tokens: Tensor, grid: tuple[int, int], reading: Reading
) -> Tensor:
    """Embed every patch, as `read_densely`, from the tokens before the last block, B N C."""
    rows, columns = grid
    keys, values = tower.keys_values(tokens)
    if reading != "naclip":
        tokens = (tokens[:, :1] if reading == "class token" else tokens) + tower.attended(values)
        tokens = tokens + tower.mlp(tokens)
    else:
        tokens = tower.attended(_near_and_alike(keys, values, tower.heads, grid))
    patches = tokens[:, -rows * columns :]
    return torch.unflatten(tower.project(patches), 1, (rows, columns)).permute(0, 3, 1, 2)


def _near_and_alike(keys: Tensor, values: Tensor, heads: int, grid: tuple[int, int]) -> Tensor:
    """Attend by keys alone, under a Gaussian window of positions, B N C."""
    keys, values = (
        torch.unflatten(one, -1, (heads, -1)).transpose(1, 2) for one in (keys, values)
    )  # B heads N c
    window = F.pad(gaussian_window(grid, keys.device), (keys.shape[2] - grid[0] * grid[1], 0) * 2)
    mixed = F.scaled_dot_product_attention(keys, keys, values, attn_mask=window.to(keys.dtype))
    return mixed.transpose(1, 2).flatten(2)


def gaussian_window(grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Weigh every patch around every patch, (h w) (h w); 1 for itself.

    Source: NACLIP, with its σ of 5 patches.
    """
    rows, columns = (torch.arange(size, device=device, dtype=torch.float32) for size in grid)
    positions = torch.cartesian_prod(rows, columns)  # (h w) 2
    return torch.exp(-torch.cdist(positions, positions).square() / (2 * SIGMA**2))


def read_in_windows(
    tower: DenseViT, pixels: Tensor, reading: Reading, window: tuple[int, int]
) -> Tensor:
    """Embed every patch from all windows that see it.

    Args:
        tower: the transformer.
        pixels: normalised, B 3 H W, sides multiples of the patch.
        reading: how each window is read.
        window: side of a window and step between two, in pixels, multiples of the patch.

    Returns:
        B D h w, the mean of the windows' unit vectors: compared with any vector, it ranks as the
        mean of the comparisons does.
    """
    height, width = pixels.shape[-2:]
    sides = [min(window[0], one) for one in (height, width)]
    tops, lefts = (
        [*range(0, whole - side, window[1]), whole - side]
        for whole, side in zip((height, width), sides, strict=True)
    )
    corners = list(product(tops, lefts))
    crops = [pixels[..., y : y + sides[0], x : x + sides[1]] for y, x in corners]
    embedded = F.normalize(read_densely(tower, torch.cat(crops), reading), dim=1)
    patch, batch = tower.patch, len(pixels)
    total = embedded.new_zeros(batch, embedded.shape[1], height // patch, width // patch)
    count = embedded.new_zeros(total.shape[-2:])
    for (top, left), part in zip(corners, torch.split(embedded, batch), strict=True):
        rows = slice(top // patch, (top + sides[0]) // patch)
        columns = slice(left // patch, (left + sides[1]) // patch)
        total[..., rows, columns] += part
        count[rows, columns] += 1
    return total / count
