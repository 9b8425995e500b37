"""Fusion of class maps with projected image features."""

import torch
from torch.nn import functional as F

from dpseg.model.fusion import ProjectedFusion


def test_equals_convolutions_over_everything_concatenated(normal):
    fusion = ProjectedFusion(
        channels=5, image_channels=7, image_projection=4, guidance_channels=3, channels_out=32
    )
    for norm in (fusion.norm, fusion.refine_norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x, image, guidance = normal(6, 5, 4, 6), normal(2, 7, 4, 6), normal(6, 3, 4, 6)
    found = fusion(x, guidance, fusion.project(image))

    projected = F.relu(
        F.conv2d(image, fusion.project_image.weight, fusion.project_image.bias, padding=1)
    )
    of_image = torch.stack([projected[k % 2] for k in range(6)])  # images of one class together
    everything = torch.cat([x, guidance, of_image], dim=1)
    weight = torch.cat([fusion.fuse_cost.weight, fusion.fuse_image.weight], dim=1)
    y = F.conv2d(everything, weight, padding=1)
    y = F.relu(F.group_norm(y, 2, fusion.norm.weight, fusion.norm.bias))
    y = F.conv2d(y, fusion.refine.weight, padding=1)
    y = F.relu(F.group_norm(y, 2, fusion.refine_norm.weight, fusion.refine_norm.bias))
    torch.testing.assert_close(found, y, atol=1e-5, rtol=1e-4)
