"""The SED baseline."""

import pytest
import torch
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.factory.importers.published import import_checkpoint
from dpseg.model.dpseg import ForwardOptions
from dpseg.model.sed import ClassTransformer
from sed_reference import LEVEL_CHANNELS, TEMPLATES, Reference, tiny_checkpoint
from text_prompts import text_prompts

CLASSES, D = 6, 16


@pytest.fixture(scope="module")
def state():
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def network(state, sed_config):
    model, _ = import_checkpoint(state, config=sed_config)
    return model.network.requires_grad_(False)


@pytest.fixture
def inputs(normal):
    features = {
        level: normal(1, channels, 4 << i, 6 << i)
        for i, (level, channels) in enumerate(zip((4, 3, 2), LEVEL_CHANNELS, strict=True))
    }
    return normal(1, D, 2, 3), features, text_prompts(normal(CLASSES, TEMPLATES, D))


def test_equals_the_reference(network, state, inputs):
    embedding, features, prompts = inputs
    _, output = network.decode(*inputs, ForwardOptions(top_k=None))
    logits, auxiliary = Reference(state)(embedding, features, prompts.text_embedding)
    assert logits.std() > 0.1
    torch.testing.assert_close(output.logits[0], logits, atol=1e-4, rtol=1e-4)
    for found, expected in zip(output.auxiliary, auxiliary, strict=True):
        torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network(*inputs, ForwardOptions(top_k=None)), output.logits)


def test_batches_are_decoded_image_by_image(network, inputs):
    embedding, features, prompts = inputs
    mirrored = {level: one.flip(-1) for level, one in features.items()}
    both = network(
        torch.cat([embedding, embedding.flip(-1)]),
        {level: torch.cat([features[level], mirrored[level]]) for level in features},
        prompts,
        ForwardOptions(top_k=None),
    )
    alone = network(embedding.flip(-1), mirrored, prompts, ForwardOptions(top_k=None))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)


def test_only_the_text_speaks(network, inputs):
    embedding, features, prompts = inputs
    shown = PromptSet(
        **{
            **vars(prompts),
            "visual_embedding": torch.ones_like(prompts.text_embedding),
            "visual_mask": torch.ones(CLASSES, dtype=torch.bool),
        }
    )
    plain = network(*inputs, ForwardOptions(top_k=None))
    torch.testing.assert_close(
        network(embedding, features, shown, ForwardOptions(top_k=None)), plain
    )


def test_rejecting_none_is_not_rejecting(network, inputs):
    plain = network(*inputs, ForwardOptions(top_k=None))
    torch.testing.assert_close(network(*inputs, ForwardOptions(top_k=CLASSES)), plain)


@pytest.mark.parametrize("keep", [None, 1])
@pytest.mark.parametrize("classes", [1, 4])
def test_a_few_classes_at_a_time_come_out_as_all_at_once(network, inputs, keep, classes):
    expected = network(*inputs, ForwardOptions(top_k=keep))
    found = network(*inputs, ForwardOptions(top_k=keep, class_chunk=classes))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_early_rejection_is_the_decoder_on_what_survives(network, state, inputs):
    """Follow SED's rule through the reference: what survives a head is decoded without the rest."""
    embedding, features, prompts = inputs
    found = network(*inputs, ForwardOptions(top_k=1))[0]
    reference, alive = Reference(state), torch.arange(CLASSES)
    expected = torch.full_like(found, float("nan"))
    cost = torch.einsum(
        "dhw,kmd->kmhw",
        F.normalize(embedding[0], dim=0),
        F.normalize(prompts.text_embedding, dim=-1),
    )
    x = F.conv2d(cost, *reference.layer("conv1"), padding=3)
    for i, level in enumerate((4, 3, 2)):
        head = F.conv2d(x, *reference.layer(f"head{i}"), padding=1)
        enlarged = F.interpolate(head, found.shape[-2:], mode="bilinear")[:, 0]
        expected[alive] = enlarged
        winners = head[:, 0].argmax(0).unique()
        weight, bias = reference.layer(f"decoder_corr_guidance_projection.{i}.0")
        cost = F.conv_transpose2d(cost, weight, bias, stride=2).relu()
        guide = reference.layer(f"decoder_guidance_projection.{i}.0")
        projected = F.conv2d(features[level], *guide, padding=1).relu()
        x, cost, alive = x[winners], cost[winners], alive[winners]
        x = reference.stage(x, f"decoder{i + 1}", projected, cost)
    expected[alive] = F.conv2d(x, *reference.layer("head"), padding=1)[:, 0]
    assert 0 < len(alive) < CLASSES
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_reordered_classes_reorder_the_result(network, inputs):
    embedding, features, prompts = inputs
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    plain = network(*inputs, ForwardOptions(top_k=2))
    reordered = network(embedding, features, prompts.select(order), ForwardOptions(top_k=2))
    torch.testing.assert_close(reordered, plain[:, order], atol=1e-5, rtol=1e-5)


def test_without_decoder_mean_cosines_remain(network, inputs):
    embedding, _, prompts = inputs
    logits = network(*inputs, ForwardOptions(decoder=False))
    cosine = F.cosine_similarity(
        embedding[:, None, None], prompts.text_embedding[None, ..., None, None], dim=3
    )
    torch.testing.assert_close(logits, cosine.mean(2))


def test_image_tower_learns_through_the_cost_volume_alone(network, inputs):
    embedding, features, prompts = inputs
    embedding.requires_grad_()
    leaves = {level: one.requires_grad_() for level, one in features.items()}
    network(embedding, leaves, prompts, ForwardOptions(top_k=None)).sum().backward()
    assert embedding.grad.abs().sum() > 0
    assert all(one.grad is None for one in leaves.values())


def test_classes_attend_on_pooled_positions_in_training_only(normal):
    layer = ClassTransformer(channels=8, heads=2)
    x = normal(3, 8, 4, 6)

    def among_all(x):
        return layer(x, layer.sums([x], 1))

    layer.eval()
    still, small = among_all(x), among_all(F.avg_pool2d(x, 2)) - F.avg_pool2d(x, 2)
    layer.train()
    pooled = among_all(x)
    expected = x + F.interpolate(small, (4, 6), mode="bilinear", align_corners=True)
    torch.testing.assert_close(pooled, expected)
    assert (pooled - still).abs().max() > 1e-3
