"""One decoder stage."""

import pytest
import torch
from torch.nn import functional as F

from dpseg.model.stage import DecoderStage, StageConfig, match_size


def make_stage(upsample: int = 2) -> DecoderStage:
    return DecoderStage(
        StageConfig(
            level=3,
            upsample=upsample,
            channels_in=6,
            channels_out=4,
            image_channels=5,
            guidance_channels=2,
        )
    )


def test_fusion_equals_convolving_the_concatenation(normal):
    stage, classes = make_stage(), 3
    x, features, cost = normal(6, 6, 4, 5), normal(2, 5, 8, 10), normal(2, 3, 2, 8, 10)
    y = stage.spatial(x)
    y = y + stage.mlp(y)
    y = stage.enlarge(stage.class_attention(y, stage.class_attention.sums([y], 2)))
    weight = torch.cat([stage.fuse_cost.weight, stage.fuse_image.weight], dim=1)
    expected = []
    for name in range(classes):
        for image in range(2):
            row = y[name * 2 + image]
            everything = torch.cat([row, cost[image, name], features[image]])
            fused = F.conv2d(everything[None], weight, stage.fuse_cost.bias, padding=1)[0]
            expected.append(row + fused.clamp_min(0))
    (found,) = stage([x], features, [cost])
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_reordered_classes_reorder_the_result(normal):
    stage, order = make_stage(), torch.tensor([2, 0, 3, 1])
    x, features, cost = normal(4, 2, 6, 3, 3), normal(2, 5, 6, 6), normal(2, 4, 2, 6, 6)
    (plain,) = stage([x.flatten(0, 1)], features, [cost])
    (reordered,) = stage([x[order].flatten(0, 1)], features, [cost[:, order]])
    torch.testing.assert_close(
        reordered.unflatten(0, (4, 2)), plain.unflatten(0, (4, 2))[order], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("classes", [1, 3])
def test_a_few_classes_at_a_time_come_out_as_all_at_once(normal, classes):
    stage = make_stage()
    x, features, cost = normal(8, 6, 3, 3), normal(2, 5, 6, 6), normal(2, 4, 2, 6, 6)
    (expected,) = stage([x], features, [cost])
    found = torch.cat(list(stage(x.split(2 * classes), features, cost.split(classes, dim=1))))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("upsample", "size"), [(1, (4, 5)), (2, (8, 10)), (2, (7, 11))])
def test_comes_out_at_the_size_of_the_guidance(normal, upsample, size):
    stage = make_stage(upsample)
    (out,) = stage([normal(3, 6, 4, 5)], normal(1, 5, *size), [normal(1, 3, 2, *size)])
    assert out.shape == (3, 4, *size)


def test_equal_sizes_are_left_alone(normal):
    x = normal(1, 2, 3, 4)
    assert match_size(x, normal(5, 6, 3, 4)) is x
