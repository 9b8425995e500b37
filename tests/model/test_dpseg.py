"""The network behind the encoders, and what its options turn off."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.decoder import DecoderConfig
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.model.stage import StageConfig

CLASSES, TEMPLATES, DIMENSION = 4, 2, 7
ALL = ForwardOptions(guidance_levels=(4, 3), top_k=None)


def make_network(cost_channels: int = TEMPLATES + 2) -> DPSeg:
    sizes = {"image_channels": 3, "guidance_channels": TEMPLATES}
    stages = (
        StageConfig(level=4, upsample=1, channels_in=8, channels_out=6, **sizes),
        StageConfig(level=3, upsample=2, channels_in=6, channels_out=4, **sizes),
    )
    network = DPSeg(
        decoder=DecoderConfig(
            cost_channels=cost_channels, embed_channels=8, embed_kernel=3, stages=stages
        )
    )
    for layer in (network.decoder.predict, *network.decoder.heads):
        nn.init.normal_(layer.weight)
    return network


@pytest.fixture
def network(normal):
    return make_network()


@pytest.fixture
def image(normal):
    return normal(2, DIMENSION, 3, 4), {4: normal(2, 3, 3, 4), 3: normal(2, 3, 6, 8)}


@pytest.fixture
def prompts(normal):
    return PromptSet(
        text_embedding=normal(CLASSES, TEMPLATES, DIMENSION),
        visual_embedding=normal(CLASSES, TEMPLATES, DIMENSION),
        visual_features={j: normal(CLASSES, TEMPLATES, 3) for j in (4, 3)},
        text_tokens=normal(CLASSES, 5, DIMENSION),
        text_token_mask=torch.arange(5) < torch.tensor([[5], [3], [1], [2]]),
        visual_tokens=normal(CLASSES, 4, DIMENSION),
        visual_mask=torch.ones(CLASSES, dtype=torch.bool),
    )


def other_pictures(prompts, rows=slice(None)):
    """Replace what the pictures say about some classes by something else."""

    def changed(values):
        values = values.clone()
        values[rows] = values[rows].flip(-1) + 3
        return values

    return replace(
        prompts,
        visual_embedding=changed(prompts.visual_embedding),
        visual_features={j: changed(v) for j, v in prompts.visual_features.items()},
        visual_tokens=changed(prompts.visual_tokens),
    )


def other_words(prompts):
    return replace(
        prompts,
        text_embedding=prompts.text_embedding.flip(-1) + 3,
        text_tokens=prompts.text_tokens.flip(-1) + 3,
    )


def test_scores_every_class_at_the_finest_level(network, image, prompts):
    logits = network(*image, prompts, ALL)
    assert logits.shape == (2, CLASSES, 6, 8)
    changed = network(*image, other_pictures(prompts), ALL)
    assert not torch.allclose(logits, changed)
    assert not torch.allclose(logits, network(*image, other_words(prompts), ALL))


def test_text_alone_ignores_pictures(network, image, prompts):
    options = ALL.replace(strategy="text")
    expected = network(*image, prompts, options)
    torch.testing.assert_close(network(*image, other_pictures(prompts), options), expected)


def test_pictures_alone_ignore_text(network, image, prompts):
    options = ALL.replace(strategy="visual")
    expected = network(*image, prompts, options)
    torch.testing.assert_close(network(*image, other_words(prompts), options), expected)


@pytest.mark.parametrize("strategy", ["text", "visual", "average", "average_cost"])
def test_class_without_picture_is_told_by_its_text(network, image, prompts, strategy):
    options = ALL.replace(strategy=strategy)
    without = replace(prompts, visual_mask=torch.tensor([True, False, True, False]))
    expected = network(*image, without, options)
    changed = other_pictures(without, rows=[1, 3])
    torch.testing.assert_close(network(*image, changed, options), expected)
    alone = network.decode(*image, without, options.replace(decoder=False))[0][:, [1, 3]]
    by_text = network.decode(*image, without, ForwardOptions(strategy="text", decoder=False))[0]
    torch.testing.assert_close(alone, by_text[:, [1, 3]])


def test_without_guidance_the_visual_cost_volumes_are_zero(network, image, prompts):
    nothing = {j: torch.zeros_like(v) for j, v in prompts.visual_features.items()}
    expected = network(*image, replace(prompts, visual_features=nothing), ALL)
    found = network(*image, prompts, ALL.replace(guidance_levels=()))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, network(*image, prompts, ALL))


def test_each_guidance_level_can_be_left_out(network, image, prompts):
    levels = prompts.visual_features
    nothing = levels | {3: torch.zeros_like(levels[3])}
    expected = network(*image, replace(prompts, visual_features=nothing), ALL)
    found = network(*image, prompts, ALL.replace(guidance_levels=(4,)))
    torch.testing.assert_close(found, expected)


def test_upsampled_guidance_takes_the_enlarged_cost_volume(network, image, prompts):
    guides = []
    network.decoder.register_forward_pre_hook(lambda _, given: guides.append(given[3]))
    options = ALL.replace(guidance="upsampled", guidance_levels=(3,))
    network(*image, prompts, options)
    received = {level: guides[0](level, torch.arange(CLASSES)) for level in (4, 3)}
    embedding, _ = image
    joint = F.normalize(prompts.text_embedding, dim=-1) + F.normalize(
        prompts.visual_embedding, dim=-1
    )
    cost = F.cosine_similarity(embedding[:, None, None], joint[None, ..., None, None], dim=3)
    expected = cost.repeat_interleave(2, -2).repeat_interleave(2, -1)
    torch.testing.assert_close(received[3], expected)
    assert (received[4] == 0).all()


def test_concatenated_prompts_guide_by_their_first_templates(normal, image, prompts):
    network = make_network(cost_channels=2 * TEMPLATES + 2)
    for guidance in ("visual", "upsampled"):
        logits = network(*image, prompts, ALL.replace(strategy="concatenate", guidance=guidance))
        assert logits.shape == (2, CLASSES, 6, 8)


def test_without_token_costs_tokens_do_not_speak(network, image, prompts):
    changed = replace(
        prompts,
        text_tokens=prompts.text_tokens.flip(-1),
        visual_tokens=prompts.visual_tokens.flip(-1),
    )
    off = ALL.replace(token_wise=False)
    torch.testing.assert_close(network(*image, changed, off), network(*image, prompts, off))
    assert not torch.allclose(network(*image, changed, ALL), network(*image, prompts, ALL))


def test_without_decoder_the_cost_volume_scores(network, image, prompts):
    embedding, _ = image
    logits = network(*image, prompts, ALL.replace(strategy="text", decoder=False))
    text = prompts.text_embedding[None, ..., None, None]
    cosine = F.cosine_similarity(embedding[:, None, None], text, dim=3).mean(2)
    torch.testing.assert_close(logits, network.log_scale.exp() * cosine + network.bias)


@pytest.mark.parametrize("keep", [None, 1])
def test_reordered_prompts_reorder_the_scores(network, image, prompts, keep):
    order = torch.tensor([2, 0, 3, 1])
    options = ALL.replace(top_k=keep)
    plain = network(*image, prompts, options)
    reordered = network(*image, prompts.select(order), options)
    torch.testing.assert_close(reordered, plain[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keep", [None, 1])
@pytest.mark.parametrize("guidance", ["visual", "upsampled"])
def test_scores_do_not_depend_on_how_many_classes_are_decoded_at_once(
    network, image, prompts, keep, guidance
):
    options = ALL.replace(top_k=keep, guidance=guidance)
    expected = network(*image, prompts, options)
    for classes in (1, 3):
        found = network(*image, prompts, options.replace(class_chunk=classes))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_settings_are_changed_in_a_copy():
    options = ForwardOptions()
    assert options.replace(top_k=3) == ForwardOptions(top_k=3)
    assert options.top_k == 8
    with pytest.raises(TypeError, match="kept"):
        options.replace(kept=3)
