"""One stage of the cost-volume-guided decoder: convolve, attend between classes, enlarge, fuse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.model.class_attention import ClassAttention
from dpseg.model.fusion import ProjectedFusion, add_to_each_class
from dpseg.model.hybrid_conv import HybridDilatedConv


@dataclass(frozen=True)
class StageConfig:
    """Sizes of a stage.

    Attributes:
        level: j of the guidance features (stride 2^j).
        upsample: factor by which the stage enlarges, 1 or 2.
        channels_in: channels of its input.
        channels_out: channels of its output.
        image_channels: C_j of the image features.
        guidance_channels: channels of each class's guidance.
        heads: of the class attention.
        image_projection: channels that the image features are projected to before they are fused;
            None fuses them as they are, around a residual connection.
        enlarged_channels: channels of the enlarged maps where image features are projected.
    """

    level: int
    upsample: int
    channels_in: int
    channels_out: int
    image_channels: int
    guidance_channels: int
    heads: int = 2
    image_projection: int | None = None
    enlarged_channels: int | None = None

    @property
    def enlarged(self) -> int:
        """Channels between enlargement and fusion."""
        return self.enlarged_channels or self.channels_out


class DecoderStage(nn.Module):
    """Hybrid convolution, MLP, class attention, enlargement, fusion with guidance.

    Args:
        config: sizes.

    Source: DPSeg, cost-volume-guided decoder. The fusion's convolution over image features is
    computed once per image and added, not once per class: the same function, K times cheaper.
    """

    def __init__(self, config: StageConfig) -> None:
        super().__init__()
        self.config = config
        inside, outside = config.channels_in, config.channels_out
        enlarged = config.enlarged
        self.spatial = HybridDilatedConv(channels=inside)
        self.mlp = nn.Sequential(
            nn.GroupNorm(1, inside),
            nn.Conv2d(inside, 2 * inside, 1),
            nn.ReLU(),
            nn.Conv2d(2 * inside, inside, 1),
        )
        self.class_attention = ClassAttention(channels=inside, heads=config.heads)
        self.enlarge = (
            nn.ConvTranspose2d(inside, enlarged, 2, stride=2)
            if config.upsample == 2
            else nn.Conv2d(inside, enlarged, 1)
        )
        if config.image_projection is None:
            self.fuse_cost = nn.Conv2d(outside + config.guidance_channels, outside, 3, padding=1)
            self.fuse_image = nn.Conv2d(config.image_channels, outside, 3, padding=1, bias=False)
        else:
            self.fusion = projected_fusion(config)

    def forward(
        self, parts: Sequence[Tensor], image_features: Tensor, visual_costs: Iterable[Tensor]
    ) -> Iterator[Tensor]:
        """Refine the classes' maps and bring them to the guidance's resolution.

        Args:
            parts: maps of the K classes, a few classes in each, (k B) C h w.
            image_features: E_j, B C_j H W.
            visual_costs: of each part F_v^j or what was made of it, B k G H W.

        Yields:
            The same parts, (k B) C' H W.
        """
        parts = [self._spread(part) for part in parts]
        sums = self.class_attention.sums(parts, len(image_features))
        image = self._image_part(image_features)  # B C' H W
        for part, visual_cost in zip(parts, visual_costs, strict=True):
            x = self.class_attention(part, sums)
            x = match_size(self.enlarge(x), image_features)
            yield self._fuse(x, by_class(visual_cost).to(x.dtype), image)

    def _spread(self, x: Tensor) -> Tensor:
        x = self.spatial(x)
        spread: Tensor = x + self.mlp(x)
        return spread

    def _image_part(self, image_features: Tensor) -> Tensor:
        if self.config.image_projection is not None:
            return self.fusion.project(image_features)
        image: Tensor = self.fuse_image(image_features)
        return image

    def _fuse(self, x: Tensor, guidance: Tensor, image: Tensor) -> Tensor:
        if self.config.image_projection is not None:
            fused: Tensor = self.fusion(x, guidance, image)
            return fused
        cost = self.fuse_cost(torch.cat([x, guidance], dim=1))
        return x + F.relu(add_to_each_class(cost, image))


def by_class(x: Tensor) -> Tensor:
    """Fold classes before images, so that a few classes are neighbours: B k ... to (k B) ..."""
    return x.transpose(0, 1).flatten(0, 1)


def projected_fusion(config: StageConfig) -> ProjectedFusion:
    """Make the fusion of a stage whose image features are projected."""
    assert config.image_projection is not None
    return ProjectedFusion(
        channels=config.enlarged,
        image_channels=config.image_channels,
        image_projection=config.image_projection,
        guidance_channels=config.guidance_channels,
        channels_out=config.channels_out,
    )


def match_size(x: Tensor, like: Tensor) -> Tensor:
    """Stretch a map to the size of another, where they differ."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
