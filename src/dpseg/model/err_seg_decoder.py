"""ERR-Seg's decoder: two cost maps of each class become one map at stride 4.

Embed the costs, let the aggregator refine them under the guidance of image and text, then enlarge
them in three steps, each guided by a shallower level of the image. One image at a time: which
classes take part is chosen for each, and the classes fill the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.model.err_seg_aggregator import AggregatorLayer
from dpseg.model.fusion import ProjectedFusion, enlarge_classes
from dpseg.model.stage import match_size

CLAMP = 16.0  # bound of the image features that guide
_KERNEL = 7
_MLP_EXPANSION, _CONV_EXPANSION = 3, 2
_GROUP_CHANNELS = 8


@dataclass(frozen=True)
class ErrSegSizes:
    """Sizes of the decoder.

    Attributes:
        text_channels: D of the text embedding.
        image_channels: level j to C_j, of levels 5, 4, 3, 2.
        widths: channels in the aggregator, then after each enlargement.
        projections: channels that the image features of levels 4, 3, 2 are projected to.
        heads: attention heads; divides the aggregator's width.
        layers: of the aggregator.
    """

    text_channels: int
    image_channels: Mapping[int, int]
    widths: tuple[int, ...] = (128, 64, 32, 16)
    projections: tuple[int, ...] = (32, 16, 8)
    heads: int = 4
    layers: int = 4


class CostEmbedding(nn.Module):
    """Embed each class's cost maps at strides 16 and 32 as one map.

    Convolutions, mean and projection are linear, so that the projection is applied to the kernels
    and not to the maps: the same values for half the work.

    Args:
        channels: of the embedding.

    Source: ERR-Seg, decoder.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        hidden = _CONV_EXPANSION * channels
        self.fine = nn.Conv2d(1, hidden, _KERNEL, padding=_KERNEL // 2)
        self.coarse = nn.Conv2d(1, hidden, _KERNEL, padding=_KERNEL // 2)
        self.fuse = nn.Conv2d(hidden, channels, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Embed costs.

        Args:
            fine: cosines at stride 16, S h w.
            coarse: cosines at stride 32, S h/2 w/2.

        Returns:
            S C h w.
        """
        mixed = self.fuse.weight[:, :, 0, 0] / 2  # C 2C
        maps = []
        for convolution, costs in ((self.fine, fine), (self.coarse, coarse)):
            kernel = torch.einsum("oc,cikl->oikl", mixed, convolution.weight)
            bias = mixed @ convolution.bias  # type: ignore[operator]
            maps.append(F.conv2d(costs[:, None], kernel, bias, padding=_KERNEL // 2))
        bias = self.fuse.bias[:, None, None]  # type: ignore[index]
        return maps[0] + match_size(maps[1], maps[0]) + bias


class ImageGuidance(nn.Module):
    """Bring the image features of strides 16 and 32 together, to guide the aggregator.

    Args:
        fine_channels: of the features at stride 16.
        coarse_channels: of the features at stride 32.
        channels: of the guidance.

    Source: ERR-Seg, decoder.
    """

    def __init__(self, *, fine_channels: int, coarse_channels: int, channels: int) -> None:
        super().__init__()
        hidden = _CONV_EXPANSION * channels
        self.fine = nn.Conv2d(fine_channels, hidden, 3, padding=1)
        self.coarse = nn.Conv2d(coarse_channels, hidden, 3, padding=1)
        self.fuse = nn.Conv2d(hidden, channels, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map B C_4 h w and B C_5 h/2 w/2 to B C h w."""
        maps = F.relu6(self.fine(fine))
        guidance: Tensor = self.fuse((maps + match_size(F.relu6(self.coarse(coarse)), maps)) / 2)
        return guidance


class Enlargement(nn.Module):
    """Bring class maps to the resolution of a level, and fuse them with its features.

    Args:
        channels: of the class maps.
        channels_out: of the result.
        image_channels: C_j of the level.
        image_projection: channels that its features are projected to.
        enlarge: whether the resolution doubles, or is that of the level already.

    Source: ERR-Seg, upsampling decoder.
    """

    def __init__(
        self,
        *,
        channels: int,
        channels_out: int,
        image_channels: int,
        image_projection: int,
        enlarge: bool,
    ) -> None:
        super().__init__()
        self.enlarge: nn.Module = (
            nn.ConvTranspose2d(channels, channels_out, 2, stride=2)
            if enlarge
            else nn.Conv2d(channels, channels_out, 1)
        )
        self.fusion = ProjectedFusion(
            channels=channels_out,
            image_channels=image_channels,
            image_projection=image_projection,
            guidance_channels=0,
            channels_out=channels_out,
            group_channels=_GROUP_CHANNELS,
            activation=F.relu6,
        )

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Map S C h w to S C' H W; `image` is the image's part, as `ProjectedFusion.project`."""
        fused: Tensor = self.fusion(match_size(self.enlarge(x), image), None, image)
        return fused


class ErrSegDecoder(nn.Module):
    """Cost embedding, aggregator, enlargement.

    Args:
        sizes: of all parts.

    Source: ERR-Seg, decoder.
    """

    def __init__(self, sizes: ErrSegSizes) -> None:
        super().__init__()
        self.levels = (4, 3, 2)
        width = sizes.widths[0]
        self.cost_embedding = CostEmbedding(channels=width)
        self.image_guidance = ImageGuidance(
            fine_channels=sizes.image_channels[4],
            coarse_channels=sizes.image_channels[5],
            channels=width,
        )
        self.text_guidance = nn.Sequential(nn.Linear(sizes.text_channels, width), nn.GELU())
        self.layers = nn.ModuleList(
            AggregatorLayer(channels=width, heads=sizes.heads, hidden=_MLP_EXPANSION * width)
            for _ in range(sizes.layers)
        )
        self.enlargements = nn.ModuleList(
            Enlargement(
                channels=before,
                channels_out=after,
                image_channels=sizes.image_channels[level],
                image_projection=projection,
                enlarge=level != self.levels[0],
            )
            for level, (before, after), projection in zip(
                self.levels, pairwise(sizes.widths), sizes.projections, strict=True
            )
        )
        self.head = nn.Conv2d(sizes.widths[-1], 1, 1)

    def forward(
        self,
        fine: Tensor,
        coarse: Tensor,
        text: Tensor,
        image_features: Mapping[int, Tensor],
        class_chunk: int | None = None,
    ) -> Tensor:
        """Decode the classes of one image.

        Args:
            fine: cosines at stride 16, S h w.
            coarse: cosines at stride 32, S h/2 w/2.
            text: unit vectors that guide, S D.
            image_features: level j, of 5, 4, 3, 2, to 1 C_j h_j w_j.
            class_chunk: classes at a time where they do not meet, which bounds memory and changes
                nothing else; None takes all.

        Returns:
            Logits at stride 4, S H W.
        """
        levels = {j: one.clamp(-CLAMP, CLAMP) for j, one in image_features.items()}
        guidance = self.image_guidance(levels[4], levels[5])  # 1 C h w
        words = self.text_guidance(text)  # S C
        x = self.cost_embedding(fine, coarse)  # S C h w
        for layer in self.layers:
            x = layer(x, guidance, words, class_chunk)
        images = [
            step.fusion.project(levels[level])  # type: ignore[union-attr, operator]
            for level, step in zip(self.levels, self.enlargements, strict=True)
        ]
        return enlarge_classes(x, self.enlargements, images, self.head, class_chunk)
