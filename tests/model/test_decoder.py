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
def inputs(normal):
    return {
        "cost": normal(2, CLASSES, 5, 3, 4),
        "coarse_logits": normal(2, CLASSES, 3, 4),
        "image_features": {4: normal(2, 3, 3, 4), 3: normal(2, 3, 6, 8)},
        "visual_costs": {4: normal(2, CLASSES, 2, 3, 4), 3: normal(2, CLASSES, 2, 6, 8)},
    }


def enlarged(logits):
    return F.interpolate(logits, (6, 8), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("keep", [None, 1])
def test_untrained_decoder_enlarges_the_coarse_logits(decoder, inputs, keep):
    output = decoder(**inputs, keep=keep)
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
    torch.testing.assert_close(trained(**inputs, keep=keep).logits, trained(**inputs).logits)


def test_rejected_class_has_the_score_of_the_head_that_rejected_it(trained, inputs):
    coarse = inputs["coarse_logits"]
    coarse[:, 0] -= 100  # out at the first head
    coarse[:, 1] -= 100
    output = trained(**inputs, keep=2)

    alive = list(range(CLASSES))
    x = trained.embed(inputs["cost"].flatten(0, 1))
    expected = {}
    for stage, head in zip(trained.stages, trained.heads, strict=True):
        scores = coarse[:, alive] + head(x).unflatten(0, (2, -1))[:, :, 0]  # B K h w
        best = {alive[i] for i in scores.topk(2, dim=1).indices.unique().tolist()}
        for place, name in enumerate(alive):
            if name not in best:
                expected[name] = enlarged(scores[:, place, None])[:, 0]
        kept = [place for place, name in enumerate(alive) if name in best]
        x = x.unflatten(0, (2, -1))[:, kept].flatten(0, 1)
        alive = [alive[place] for place in kept]
        level = stage.config.level
        guidance = inputs["visual_costs"][level][:, alive]
        x = stage(x, inputs["image_features"][level], guidance, len(alive))
    last = enlarged(coarse[:, alive]) + trained.predict(x).unflatten(0, (2, -1))[:, :, 0]
    expected |= {name: last[:, place] for place, name in enumerate(alive)}

    assert {0, 1}.isdisjoint(alive)
    found = output.logits
    torch.testing.assert_close(found, torch.stack([expected[k] for k in range(CLASSES)], dim=1))
    assert surviving_classes(output.auxiliary[0], 2).tolist() != list(range(CLASSES))


@pytest.mark.parametrize("keep", [None, 1, 2])
def test_reordered_classes_reorder_the_result(trained, inputs, keep):
    inputs["coarse_logits"][:, 4] -= 100
    order = torch.tensor([5, 2, 4, 0, 1, 3])
    reordered = {
        "cost": inputs["cost"][:, order],
        "coarse_logits": inputs["coarse_logits"][:, order],
        "image_features": inputs["image_features"],
        "visual_costs": {j: v[:, order] for j, v in inputs["visual_costs"].items()},
    }
    plain = trained(**inputs, keep=keep).logits
    torch.testing.assert_close(trained(**reordered, keep=keep).logits, plain[:, order])


def test_early_heads_do_not_train_what_comes_before_them(trained, inputs):
    sum(a.sum() for a in trained(**inputs).auxiliary).backward()
    assert trained.embed.weight.grad is None
    assert all(head.weight.grad.abs().sum() > 0 for head in trained.heads)
