"""ERR-Seg, beside a re-computation in torch primitives."""

import pytest
import torch
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.encoders.protocol import FeaturePyramid
from dpseg.factory.importers.published import import_checkpoint
from dpseg.model.class_choice import choose_by_votes, count_votes, usual_choice
from dpseg.model.dpseg import ForwardOptions
from err_seg_reference import CHANNELS, D, Reference, read_out, tiny_checkpoint
from text_prompts import text_prompts

CLASSES, CHOSEN = 7, 4
ALL = ForwardOptions(chosen=CLASSES)


@pytest.fixture(scope="module")
def state():
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def model(state, err_seg_config):
    return import_checkpoint(state, config=err_seg_config)[0].requires_grad_(False)


@pytest.fixture
def pyramid(normal):
    """Of two images, with features beyond the clamp."""
    levels = {j: 9 * normal(2, c, 128 >> j, 192 >> j) for j, c in CHANNELS.items()}
    return FeaturePyramid(normal(2, D, 8, 12), levels, normal(2, D, 4, 6))


@pytest.fixture
def prompts(normal):
    return text_prompts(normal(CLASSES, 1, D))


def score(model, pyramid, prompts, options):
    return model.network(
        pyramid.image_embedding,
        pyramid.image_features,
        prompts,
        options,
        pyramid.coarse_embedding,
    )


def expected(state, pyramid, prompts, chosen, image=0):
    return Reference(state)(
        pyramid.image_embedding[image, None],
        pyramid.coarse_embedding[image, None],
        {j: one[image, None] for j, one in pyramid.image_features.items()},
        prompts.text_embedding[:, 0],
        chosen,
    )


@pytest.mark.parametrize("chosen", [1, CHOSEN, CLASSES])
def test_equals_the_reference(model, state, pyramid, prompts, chosen):
    """Every image of a batch by itself, with its own choice of classes."""
    found = score(model, pyramid, prompts, ForwardOptions(chosen=chosen))
    choices = []
    for image in range(2):
        logits, classes = expected(state, pyramid, prompts, chosen, image)
        assert logits[classes].std() > 0.1
        torch.testing.assert_close(found[image], logits, atol=1e-4, rtol=1e-4)
        choices.append(classes)
    assert (choices[0] != choices[1]) == (chosen < CLASSES)


def test_odd_sizes_equal_the_reference(model, state, normal, prompts):
    levels = {j: normal(1, c, *hw) for (j, c), hw in zip(
        CHANNELS.items(), ((3, 4), (5, 7), (10, 14), (20, 28)), strict=True
    )}  # fmt: skip
    odd = FeaturePyramid(normal(1, D, 5, 7), levels, normal(1, D, 3, 4))
    logits, _ = expected(state, odd, prompts, CLASSES)
    torch.testing.assert_close(score(model, odd, prompts, ALL)[0], logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_photo_to_logits_equals_the_reference(model, state, prompts):
    """The whole image path, with the last stage run twice, by timm's own forward."""
    encoder = model.encoder
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    pyramid = encoder.encode_image(image)
    pixels = (image - encoder.pixel_mean) / encoder.pixel_std
    fine, coarse, levels = read_out(encoder.clip, state, pixels)
    torch.testing.assert_close(pyramid.image_embedding, fine, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pyramid.coarse_embedding, coarse, atol=1e-5, rtol=1e-5)
    logits, _ = Reference(state)(fine, coarse, levels, prompts.text_embedding[:, 0], CHOSEN)
    found = score(model, pyramid, prompts, ForwardOptions(chosen=CHOSEN))
    assert found.shape == (1, CLASSES, 24, 32)
    torch.testing.assert_close(found[0], logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("classes", [1, 3, 20])
def test_a_few_classes_at_a_time_come_out_as_all_at_once(model, pyramid, prompts, classes):
    whole = score(model, pyramid, prompts, ALL)
    parts = score(model, pyramid, prompts, ALL.replace(class_chunk=classes))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_reordered_classes_reorder_the_result(model, pyramid, prompts):
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    options = ForwardOptions(chosen=CHOSEN)
    plain = score(model, pyramid, prompts, options)
    moved = score(model, pyramid, prompts.select(order), options)
    torch.testing.assert_close(moved, plain[:, order], atol=1e-4, rtol=1e-5)


def test_pictures_are_averaged_with_text_before_both_comparisons(model, pyramid, prompts, normal):
    """A class's picture acts as text of the joint direction would, but for the text guidance."""
    pictures = normal(CLASSES, 1, D)
    shown = torch.arange(CLASSES) < 3
    given = PromptSet(**{**vars(prompts), "visual_embedding": pictures, "visual_mask": shown})
    joint = F.normalize(prompts.text_embedding, dim=-1) + F.normalize(pictures, dim=-1)
    joint = torch.where(shown[:, None, None], joint, prompts.text_embedding)
    off = ForwardOptions(decoder=False)
    torch.testing.assert_close(
        score(model, pyramid, given, off), score(model, pyramid, text_prompts(joint), off)
    )
    changed, plain = (score(model, pyramid, p, ALL) for p in (given, prompts))
    assert not torch.allclose(changed, plain)
    text_alone = score(model, pyramid, given, ALL.replace(strategy="text"))
    torch.testing.assert_close(text_alone, plain)


def test_votes_go_to_the_three_nearest(normal):
    cosines = normal(2, 5, 3, 4)
    votes = torch.zeros(2, 5)
    for image, maps in enumerate(cosines):
        for place in maps.flatten(1).T:
            for k, vote in zip(place.argsort(descending=True), (1, 0.1, 0.01), strict=False):
                votes[image, k] += vote
    torch.testing.assert_close(count_votes(cosines), votes)
    two = count_votes(cosines[:, :2]).sum(1)
    torch.testing.assert_close(two, torch.full((2,), 12 * 1.1))
    assert choose_by_votes(cosines, 99).tolist() == [[0, 1, 2, 3, 4]] * 2


def test_usual_choice_grows_with_the_vocabulary():
    found = {k: usual_choice(k) for k in (5, 16, 20, 21, 59, 150, 171, 172, 847)}
    assert found == {
        5: 5, 16: 16, 20: 16, 21: 21, 59: 24, 150: 32, 171: 32, 172: 48, 847: 48
    }  # fmt: skip
