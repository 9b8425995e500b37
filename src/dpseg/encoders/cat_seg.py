"""CAT-Seg's encoders: a CLIP of OpenAI's layout, read densely, with two earlier blocks as guides.

Pictures are squares of one size, as the network behind it was trained on 24 x 24 patches. Position
embeddings are stretched to them when the tower runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dpseg.encoders.dense_vit import read_last_block
from dpseg.encoders.protocol import FeaturePyramid
from dpseg.encoders.vit import OpenClipViTEncoder
from dpseg.encoders.vit_towers import OpenClipViT

#: Levels that the tokens guide which one and two thirds of the blocks give.
GUIDED_LEVELS = (3, 2)


class CatSegEncoder(OpenClipViTEncoder):
    """Both towers of CAT-Seg.

    Args:
        name: open_clip's name of a model with a vision transformer of OpenAI's layout.
        pretrained: open_clip's tag of its weights, or a file; None initialises at random.
        architecture: parts of open_clip's model configuration to replace.
        image_size: side of a picture in pixels.

    Raises:
        CheckpointError: there is no such model, or its weights cannot be had.
        MissingExtraError: open_clip is not installed.

    Source: CAT-Seg (Cho et al. 2024).
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: str | None,
        architecture: Mapping[str, Any] | None = None,
        image_size: int,
    ) -> None:
        super().__init__(
            name, pretrained=pretrained, architecture=architecture, reading="class token"
        )
        self._plain = OpenClipViT(self.clip.visual, antialias=False)
        self.tower = self._plain
        self._image_size = image_size

    @property
    def stride(self) -> int:
        """Image sides are multiples of this, so that every view is a square."""
        return self._image_size

    @property
    def level_channels(self) -> dict[int, int]:
        """Channels of the tokens that guide, whatever the level."""
        return dict.fromkeys(GUIDED_LEVELS, self.clip.visual.positional_embedding.shape[1])

    def encode_image(self, images: Tensor) -> FeaturePyramid:
        """Embed images, RGB in [0, 1], B 3 H W, sides multiples of the stride.

        Returns:
            The embedding of every patch, and as features of each level the tokens that guide it;
            all of them B C h w for h x w patches.
        """
        tokens, grid = self._plain.blocks((images - self.pixel_mean) / self.pixel_std)
        blocks = len(tokens) + 1
        guides = {
            level: tokens[third * blocks // 3 - 1][:, 1:]  # without the class token
            for third, level in enumerate(GUIDED_LEVELS, start=1)
        }
        return FeaturePyramid(
            read_last_block(self._plain, tokens[-1], grid, self.reading),
            {
                level: torch.unflatten(one, 1, grid).permute(0, 3, 1, 2)  # B C h w
                for level, one in guides.items()
            },
        )
