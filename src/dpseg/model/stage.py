"""One stage of the cost-volume-guided decoder: spread, compare classes, enlarge, guide."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.model.class_attention import ClassAttention
from dpseg.model.fusion import ProjectedFusion
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
        self, x: Tensor, image_features: Tensor, visual_cost: Tensor, classes: int
    ) -> Tensor:
        """Refine the classes' maps and bring them to the guidance's resolution.

        Args:
            x: (B K) C h w.
            image_features: E_j, B C_j H W.
            visual_cost: F_v^j or what was made of it, B K G H W.
            classes: K.

        Returns:
            (B K) C' H W.
        """
        x = self.spatial(x)
        x = x + self.mlp(x)
        x = self.class_attention(x, classes)
        x = match_size(self.enlarge(x), image_features)
        guidance = visual_cost.flatten(0, 1).to(x.dtype)  # (B K) G H W
        return self._fuse(x, image_features, guidance, classes)

    def _fuse(self, x: Tensor, image_features: Tensor, guidance: Tensor, classes: int) -> Tensor:
        if self.config.image_projection is not None:
            fused: Tensor = self.fusion(x, image_features, guidance, classes)
            return fused
        cost = self.fuse_cost(torch.cat([x, guidance], dim=1))
        image = self.fuse_image(image_features).repeat_interleave(classes, 0)  # (B K) C' H W
        return x + F.relu(cost + image)


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
