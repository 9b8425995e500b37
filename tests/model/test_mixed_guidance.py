"""Visual cost volumes whose M channels are projected before they guide."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.cost_volume import cost_volume
from dpseg.model.decoder import DecoderConfig
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.model.stage import StageConfig

CLASSES, TEMPLATES, D = 4, 5, 7
CHANNELS, GUIDANCE = {4: 6, 3: 3}, {4: 4, 3: 2}
ALL = ForwardOptions(guidance_levels=(4, 3), top_k=None)


@pytest.fixture
def network(normal):
    stages = tuple(
        StageConfig(
            level=level,
            upsample=2,
            channels_in=8,
            channels_out=8,
            image_channels=CHANNELS[level],
            guidance_channels=GUIDANCE[level],
            heads=4,
            image_projection=2,
            enlarged_channels=6,
        )
        for level in (4, 3)
    )
    sizes = DecoderConfig(
        cost_channels=TEMPLATES + 2, embed_channels=8, embed_kernel=7, stages=stages, head_kernel=3
    )
    network = DPSeg(decoder=sizes, mixed_templates=TEMPLATES)
    for layer in (network.decoder.predict, *network.decoder.heads):
        nn.init.normal_(layer.weight)
    return network.requires_grad_(False)


@pytest.fixture
def inputs(normal):
    features = {4: normal(2, CHANNELS[4], 4, 6), 3: normal(2, CHANNELS[3], 8, 12)}
    prompts = PromptSet(
        text_embedding=normal(CLASSES, TEMPLATES, D),
        visual_embedding=normal(CLASSES, TEMPLATES, D),
        visual_features={j: normal(CLASSES, TEMPLATES, c) for j, c in CHANNELS.items()},
        text_tokens=normal(CLASSES, 3, D),
        text_token_mask=torch.ones(CLASSES, 3, dtype=torch.bool),
        visual_tokens=normal(CLASSES, 2, D),
        visual_mask=torch.tensor([True, True, False, True]),
    )
    return normal(2, D, 2, 3), features, prompts


def guidance_of(network, inputs, options):
    """What the decoder is given as guidance."""
    seen = []
    handle = network.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[3]))
    network(*inputs, options)
    handle.remove()
    return {level: seen[0](level, torch.arange(CLASSES)) for level in CHANNELS}


def projected(network, level, cost):
    """Project M channels of a cost volume, B K M h w, the long way round."""
    mix = network.template_projection[str(level)]
    maps = F.conv2d(cost.flatten(0, 1), mix.weight[..., None, None], mix.bias)
    return F.relu(maps).unflatten(0, cost.shape[:2])


def test_mixing_prompts_is_projecting_their_costs(network, inputs):
    _, features, prompts = inputs
    for level, found in guidance_of(network, inputs, ALL).items():
        cost = cost_volume(features[level], prompts.visual_features[level])
        expected = projected(network, level, cost)
        expected[:, 2] = 0  # a class without a picture
        assert found.shape[2] == GUIDANCE[level]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_levels_that_are_off_are_silent(network, inputs):
    found = guidance_of(network, inputs, ALL.replace(guidance_levels=(4,)))
    assert found[4].any()
    assert found[3].shape[2] == GUIDANCE[3]
    assert not found[3].any()


def test_enlarged_costs_are_projected_too(network, inputs):
    embedding, features, prompts = inputs
    found = guidance_of(network, inputs, ALL.replace(guidance="upsampled", strategy="text"))
    cost = cost_volume(embedding, prompts.text_embedding)
    for level, maps in found.items():
        size = features[level].shape[-2:]
        expected = F.interpolate(projected(network, level, cost).flatten(1, 2), size)
        torch.testing.assert_close(maps.flatten(1, 2), expected, atol=1e-6, rtol=1e-5)


def test_logits_have_the_finest_levels_size_and_follow_the_classes(network, inputs):
    embedding, features, prompts = inputs
    order = torch.tensor([2, 0, 3, 1])
    for keep in (None, 1):
        plain = network(*inputs, ALL.replace(top_k=keep))
        assert plain.shape == (2, CLASSES, 8, 12)
        moved = network(embedding, features, prompts.select(order), ALL.replace(top_k=keep))
        torch.testing.assert_close(moved, plain[:, order], atol=1e-5, rtol=1e-4)


def test_untrained_decoder_is_silent_until_it_speaks(network):
    assert not network.decoder.untrained
    nn.init.zeros_(network.decoder.predict.weight)
    nn.init.ones_(network.decoder.predict.bias)
    assert not network.decoder.untrained  # its bias speaks
    nn.init.zeros_(network.decoder.predict.bias)
    assert network.decoder.untrained
