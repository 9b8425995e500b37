"""The cost-volume-guided decoder."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dpseg.model.decoder import CostVolumeGuidedDecoder, DecoderConfig
from dpseg.model.rejection import surviving_classes
from dpseg.model.stage import StageConfig

CLASSES = 6


@pytest.fixture
def decoder(normal):
    sizes = {"image_channels": 3, "guidance_channels": 2}
    stages = (
        StageConfig(level=4, upsample=1, channels_in=8, channels_out=6, **sizes),
        StageConfig(level=3, upsample=2, channels_in=6, channels_out=4, **sizes),
    )
    return CostVolumeGuidedDecoder(
        DecoderConfig(cost_channels=5, embed_channels=8, embed_kernel=7, stages=stages)
    )


@pytest.fixture
def trained(decoder):
    """The decoder with an opinion of its own."""
    for layer in (decoder.predict, *decoder.heads):
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return decoder


@pytest.fixture
def visual_costs(normal):
    return {4: normal(2, CLASSES, 2, 3, 4), 3: normal(2, CLASSES, 2, 6, 8)}


@pytest.fixture
def inputs(normal, visual_costs):
    return {
        "cost": normal(2, CLASSES, 5, 3, 4),
        "coarse_logits": normal(2, CLASSES, 3, 4),
        "image_features": {4: normal(2, 3, 3, 4), 3: normal(2, 3, 6, 8)},
        "guide": lambda level, classes: visual_costs[level][:, classes],
    }


def by_image(x):
    """One channel of two images, (K B) 1 H W to B K H W."""
    return x.unflatten(0, (-1, 2))[:, :, 0].transpose(0, 1)


def enlarged(logits):
    return F.interpolate(logits, (6, 8), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("keep", [None, 1])
def test_untrained_decoder_enlarges_the_coarse_logits(decoder, inputs, keep):
    output = decoder(**inputs, top_k=keep)
    torch.testing.assert_close(output.logits, enlarged(inputs["coarse_logits"]))


def test_trained_decoder_corrects_them(trained, inputs):
    output = trained(**inputs)
    assert [a.shape for a in output.auxiliary] == [(2, CLASSES, 3, 4), (2, CLASSES, 3, 4)]
    correction = output.logits - enlarged(inputs["coarse_logits"])
    moved = trained(**(inputs | {"coarse_logits": inputs["coarse_logits"] + 5})).logits
    assert correction.abs().min() > 0
    torch.testing.assert_close(moved, output.logits + 5)


@pytest.mark.parametrize("keep", [CLASSES, CLASSES + 2])
def test_keeping_every_class_rejects_none(trained, inputs, keep):
    torch.testing.assert_close(trained(**inputs, top_k=keep).logits, trained(**inputs).logits)


def test_rejected_class_has_the_score_of_the_head_that_rejected_it(trained, inputs, visual_costs):
    coarse = inputs["coarse_logits"]
    coarse[:, 0] -= 100  # out at the first head
    coarse[:, 1] -= 100
    output = trained(**inputs, top_k=2)

    alive = list(range(CLASSES))
    x = trained.embed(inputs["cost"].transpose(0, 1).flatten(0, 1))  # (K B) C h w
    expected = {}
    for stage, head in zip(trained.stages, trained.heads, strict=True):
        scores = coarse[:, alive] + by_image(head(x))  # B K h w
        best = {alive[i] for i in scores.topk(2, dim=1).indices.unique().tolist()}
        for position, name in enumerate(alive):
            if name not in best:
                expected[name] = enlarged(scores[:, position, None])[:, 0]
        kept = [position for position, name in enumerate(alive) if name in best]
        x = x.unflatten(0, (-1, 2))[kept].flatten(0, 1)
        alive = [alive[position] for position in kept]
        level = stage.config.level
        (x,) = stage([x], inputs["image_features"][level], [visual_costs[level][:, alive]])
    last = enlarged(coarse[:, alive]) + by_image(trained.predict(x))
    expected |= {name: last[:, position] for position, name in enumerate(alive)}

    assert {0, 1}.isdisjoint(alive)
    found = output.logits
    torch.testing.assert_close(found, torch.stack([expected[k] for k in range(CLASSES)], dim=1))
    assert surviving_classes(output.auxiliary[0], 2).tolist() != list(range(CLASSES))


@pytest.mark.parametrize("keep", [None, 1, 2])
def test_reordered_classes_reorder_the_result(trained, inputs, visual_costs, keep):
    inputs["coarse_logits"][:, 4] -= 100
    order = torch.tensor([5, 2, 4, 0, 1, 3])
    reordered = {
        "cost": inputs["cost"][:, order],
        "coarse_logits": inputs["coarse_logits"][:, order],
        "image_features": inputs["image_features"],
        "guide": lambda level, classes: visual_costs[level][:, order[classes]],
    }
    plain = trained(**inputs, top_k=keep).logits
    torch.testing.assert_close(trained(**reordered, top_k=keep).logits, plain[:, order])


@pytest.mark.parametrize("keep", [None, 1, 2])
@pytest.mark.parametrize("classes", [1, 4, CLASSES + 1])
def test_a_few_classes_at_a_time_come_out_as_all_at_once(trained, inputs, keep, classes):
    inputs["coarse_logits"][:, 3] -= 100
    whole = trained(**inputs, top_k=keep)
    found = trained(**inputs, top_k=keep, class_chunk=classes)
    torch.testing.assert_close(found.logits, whole.logits, atol=1e-5, rtol=1e-5)
    for one, expected in zip(found.auxiliary, whole.auxiliary, strict=True):
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-5)


def test_no_more_classes_are_worked_on_than_allowed(trained, inputs):
    sizes = []
    for layer in (trained.embed, trained.predict, *(stage.spatial for stage in trained.stages)):
        layer.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    trained(**inputs, class_chunk=4)
    assert sorted(sizes) == [2 * 2] * 4 + [2 * 4] * 4  # of two images, 4 and 2 classes, four layers


def test_early_heads_do_not_train_what_comes_before_them(trained, inputs):
    sum(a.sum() for a in trained(**inputs).auxiliary).backward()
    assert trained.embed.weight.grad is None
    assert all(head.weight.grad.abs().sum() > 0 for head in trained.heads)
