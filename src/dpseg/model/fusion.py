"""Fusion as in SED: projected image features beside the costs, then two convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHANNELS_PER_GROUP = 16


class ProjectedFusion(nn.Module):
    """Bring image features down to a few channels, concatenate, convolve twice.

    Args:
        channels: of the enlarged class maps.
        image_channels: C_j of the image features.
        image_projection: channels that they are projected to.
        guidance_channels: of each class's guidance.
        channels_out: of the result.

    Source: SED, decoder; DPSeg takes it over. A convolution over concatenated inputs is the sum of
    convolutions over the parts, and the image's part is the same for all classes: it is computed
    once per image.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_channels: int,
        image_projection: int,
        guidance_channels: int,
        channels_out: int,
    ) -> None:
        super().__init__()
        groups = max(1, channels_out // _CHANNELS_PER_GROUP)
        self.project_image = nn.Conv2d(image_channels, image_projection, 3, padding=1)
        self.fuse_cost = nn.Conv2d(
            channels + guidance_channels, channels_out, 3, padding=1, bias=False
        )
        self.fuse_image = nn.Conv2d(image_projection, channels_out, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, channels_out)
        self.refine = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(groups, channels_out)

    def forward(self, x: Tensor, image_features: Tensor, guidance: Tensor, classes: int) -> Tensor:
        """Fuse.

        Args:
            x: (B K) C H W.
            image_features: E_j, B C_j H W.
            guidance: (B K) G H W.
            classes: K.

        Returns:
            (B K) C' H W.
        """
        image = self.fuse_image(F.relu(self.project_image(image_features)))  # B C' H W
        cost = self.fuse_cost(torch.cat([x, guidance], dim=1))
        fused = F.relu(self.norm(cost + image.repeat_interleave(classes, 0)))  # (B K) C' H W
        return F.relu(self.refine_norm(self.refine(fused)))
