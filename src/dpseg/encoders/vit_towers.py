"""The parts of three libraries' vision transformers that a dense reading needs.

open_clip's own (OpenAI's layout: MetaCLIP and others), timm's in open_clip (SigLIP 2, MobileCLIP 2)
and TIPSv2's in transformers. Position embeddings are stretched to the image, as each library
does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class OpenClipViT:
    """A `VisionTransformer` of open_clip.

    Args:
        visual: the tower.
        antialias: how position embeddings are stretched; open_clip's way, or the bare bicubic one.
    """

    def __init__(self, visual: Any, *, antialias: bool = True) -> None:
        self._visual = visual
        self._antialias = antialias
        self._block = visual.transformer.resblocks[-1]
        self.patch: int = visual.patch_size[0]
        self.heads: int = self._block.attn.num_heads

    def before_last(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Run all but the last block."""
        tokens, grid = self.blocks(pixels)
        return tokens[-1], grid

    def blocks(self, pixels: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Run all but the last block: the tokens behind each, B N C, and the grid."""
        visual = self._visual
        x: Tensor = visual.conv1(pixels)  # B C h w
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # B (h w) C
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1)
        positions = _stretched(
            visual.positional_embedding, visual.grid_size, grid, antialias=self._antialias
        )
        x = visual.ln_pre(x + positions)
        tokens = []
        for block in visual.transformer.resblocks[:-1]:
            x = block(x)
            tokens.append(x)
        return tokens, grid

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the last block's keys and values."""
        attention = self._block.attn
        x = self._block.ln_1(tokens)
        joint = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        _, keys, values = joint.chunk(3, dim=-1)
        return keys, values

    def attended(self, mixed: Tensor) -> Tensor:
        """Bring mixed values through the attention's output."""
        out: Tensor = self._block.ls_1(self._block.attn.out_proj(mixed))
        return out

    def mlp(self, tokens: Tensor) -> Tensor:
        """Compute what the last block's MLP adds."""
        out: Tensor = self._block.ls_2(self._block.mlp(self._block.ln_2(tokens)))
        return out

    def project(self, tokens: Tensor) -> Tensor:
        """Bring each token into the joint space."""
        out: Tensor = self._visual.ln_post(tokens) @ self._visual.proj
        return out


class TimmViT:
    """A vision transformer of timm in an open_clip model.

    An attention pool is applied to each token by itself: of one token alone it takes the value.

    Args:
        visual: open_clip's `TimmModel`.
    """

    def __init__(self, visual: Any) -> None:
        self._visual, self._trunk = visual, visual.trunk
        self._block = visual.trunk.blocks[-1]
        embed = visual.trunk.patch_embed
        self.patch: int = embed.img_size[0] // embed.grid_size[0]
        self.heads: int = self._block.attn.num_heads
        visual.trunk.dynamic_img_size, embed.strict_img_size, embed.flatten = True, False, False
        embed.output_fmt = type(embed.output_fmt)("NHWC")

    def before_last(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Run all but the last block."""
        trunk = self._trunk
        x: Tensor = trunk.patch_embed(pixels)  # B h w C
        grid = (x.shape[1], x.shape[2])
        x = trunk.norm_pre(trunk._pos_embed(x))
        for block in trunk.blocks[:-1]:
            x = block(x)
        return x, grid

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the last block's keys and values."""
        _, keys, values = self._block.attn.qkv(self._block.norm1(tokens)).chunk(3, dim=-1)
        return keys, values

    def attended(self, mixed: Tensor) -> Tensor:
        """Bring mixed values through the attention's output."""
        out: Tensor = self._block.ls1(self._block.attn.proj(self._block.attn.norm(mixed)))
        return out

    def mlp(self, tokens: Tensor) -> Tensor:
        """Compute what the last block's MLP adds."""
        out: Tensor = self._block.ls2(self._block.mlp(self._block.norm2(tokens)))
        return out

    def project(self, tokens: Tensor) -> Tensor:
        """Bring each token into the joint space."""
        trunk = self._trunk
        x = trunk.norm(tokens)
        if trunk.attn_pool is not None:
            folded = trunk.attn_pool(x.flatten(0, 1)[:, None])  # (B N) 1 C to (B N) C
            x = torch.unflatten(folded, 0, tokens.shape[:2])
        out: Tensor = self._visual.head(trunk.head(trunk.fc_norm(x)))
        return out


class Tipsv2ViT:
    """TIPSv2's vision tower in transformers.

    Args:
        vision: its `Tipsv2VisionModel`.
    """

    def __init__(self, vision: Any) -> None:
        self._vision = vision
        self._block = vision.encoder.layer[-1]
        self.patch: int = vision.config.patch_size
        self.heads: int = vision.config.num_attention_heads

    def before_last(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Run all but the last block."""
        grid = (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch)
        x: Tensor = self._vision.embeddings(pixels)
        for block in self._vision.encoder.layer[:-1]:
            x = block(x)
        return x, grid

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the last block's keys and values."""
        x = self._block.norm1(tokens)
        return self._block.attention.k_proj(x), self._block.attention.v_proj(x)

    def attended(self, mixed: Tensor) -> Tensor:
        """Bring mixed values through the attention's output."""
        out: Tensor = self._block.layer_scale1(self._block.attention.o_proj(mixed))
        return out

    def mlp(self, tokens: Tensor) -> Tensor:
        """Compute what the last block's MLP adds."""
        out: Tensor = self._block.layer_scale2(self._block.mlp(self._block.norm2(tokens)))
        return out

    def project(self, tokens: Tensor) -> Tensor:
        """Bring each token into the joint space, which is the tower's own."""
        out: Tensor = self._vision.layernorm(tokens)
        return out


def _stretched(
    embedding: Tensor, known: tuple[int, int], grid: tuple[int, int], *, antialias: bool = True
) -> Tensor:
    """Stretch position embeddings, 1 + h w rows, to another grid; the first row stays."""
    if grid == tuple(known):
        return embedding
    maps = torch.unflatten(embedding[1:], 0, tuple(known)).permute(2, 0, 1)[None]  # 1 C h w
    maps = F.interpolate(
        maps.float(), grid, mode="bicubic", antialias=antialias, align_corners=False
    )
    return torch.cat([embedding[:1], maps[0].flatten(1).T.to(embedding.dtype)])
