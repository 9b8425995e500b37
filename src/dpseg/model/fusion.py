"""Fusion as in SED: projected image features beside the costs, then two convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectedFusion(nn.Module):
    """Bring image features down to a few channels, concatenate, convolve twice.

    Args:
        channels: of the enlarged class maps.
        image_channels: C_j of the image features.
        image_projection: channels that they are projected to.
        guidance_channels: of each class's guidance; 0 where it has none.
        channels_out: of the result.
        group_channels: channels that are normalised together.
        activation: behind the projection of the image features.

    Source: SED, decoder; DPSeg takes it over. A convolution over concatenated inputs is the sum of
    convolutions over the parts, and the image's part is the same for all classes: `project`
    computes it once per image.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_channels: int,
        image_projection: int,
        guidance_channels: int,
        channels_out: int,
        group_channels: int = 16,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        super().__init__()
        groups = max(1, channels_out // group_channels)
        self.activation = activation
        self.project_image = nn.Conv2d(image_channels, image_projection, 3, padding=1)
        self.fuse_cost = nn.Conv2d(
            channels + guidance_channels, channels_out, 3, padding=1, bias=False
        )
        self.fuse_image = nn.Conv2d(image_projection, channels_out, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, channels_out)
        self.refine = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(groups, channels_out)

    def project(self, image_features: Tensor) -> Tensor:
        """Compute the image's part, B C_j H W to B C' H W."""
        projected: Tensor = self.fuse_image(self.activation(self.project_image(image_features)))
        return projected

    def forward(self, x: Tensor, guidance: Tensor | None, image: Tensor) -> Tensor:
        """Fuse.

        Args:
            x: (k B) C H W.
            guidance: (k B) G H W; None where G is 0.
            image: the image's part, B C' H W.

        Returns:
            (k B) C' H W.
        """
        cost = self.fuse_cost(x if guidance is None else torch.cat([x, guidance], dim=1))
        fused = F.relu(self.norm(add_to_each_class(cost, image)))
        return F.relu(self.refine_norm(self.refine(fused)))


def add_to_each_class(x: Tensor, image: Tensor) -> Tensor:
    """Add what is the same for all classes, B C H W, to maps of each, (k B) C H W."""
    return (torch.unflatten(x, 0, (-1, len(image))) + image).flatten(0, 1)


def enlarge_classes(
    x: Tensor,
    enlargements: Iterable[nn.Module],
    images: Sequence[Tensor],
    head: nn.Module,
    class_chunk: int | None,
) -> Tensor:
    """Enlarge class maps step by step, a few classes at a time.

    Args:
        x: class maps of one image, S C h w.
        enlargements: each takes class maps and the image's part at its level.
        images: the image's part at each level, 1 C_j H_j W_j.
        head: from the last maps to one channel.
        class_chunk: classes that are enlarged together; None for all.

    Returns:
        Logits, S H W.
    """
    parts = (x,) if class_chunk is None else torch.split(x, class_chunk)
    steps = list(zip(enlargements, images, strict=True))
    logits = []
    for maps in parts:
        for enlarge, image in steps:
            maps = enlarge(maps, image)
        logits.append(head(maps)[:, 0])
    return torch.cat(logits)
