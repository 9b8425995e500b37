"""CAT-Seg, beside a re-computation in torch primitives."""

import pytest
import torch
from torch.nn import functional as F

import cat_seg_reference as reference
from dpseg.encoders.protocol import FeaturePyramid
from dpseg.factory.importers.published import import_checkpoint
from dpseg.model.cat_seg_aggregator import maps_of, windows_of
from dpseg.model.class_choice import choose_nearest
from dpseg.model.dpseg import ForwardOptions
from text_prompts import text_prompts

CLASSES, D = 5, reference.D


@pytest.fixture(scope="module")
def state():
    return reference.tiny_checkpoint()


@pytest.fixture(scope="module")
def model(state, cat_seg_config):
    return import_checkpoint(state, config=cat_seg_config)[0].requires_grad_(False)


@pytest.fixture
def pyramid(normal):
    """Of two images."""
    tokens = {level: normal(2, reference.WIDTH, 24, 24) for level in (3, 2)}
    return FeaturePyramid(normal(2, D, 24, 24), tokens)


@pytest.fixture
def prompts(normal):
    return text_prompts(normal(CLASSES, 1, D))


def score(model, pyramid, prompts, options):
    return model.network(pyramid.image_embedding, pyramid.image_features, prompts, options)


def expected(state, pyramid, prompts, image=0, most=reference.PADDED):
    return reference.decode(
        state,
        pyramid.image_embedding[image, None],
        *(pyramid.image_features[level][image, None] for level in (3, 2)),
        prompts.text_embedding[:, 0],
        most,
    )


@pytest.mark.parametrize("chosen", [None, 2])
def test_equals_the_reference(model, state, pyramid, prompts, chosen):
    """Every image of a batch by itself, with its own choice of classes."""
    found = score(model, pyramid, prompts, ForwardOptions(chosen=chosen))
    for image in range(2):
        logits, classes = expected(state, pyramid, prompts, image, chosen or reference.PADDED)
        assert logits[classes].std() > 0.1
        torch.testing.assert_close(found[image], logits, atol=1e-4, rtol=1e-4)


def test_large_vocabularies_equal_the_reference(model, state, pyramid, prompts, monkeypatch):
    """More classes than the vocabulary is padded to: the nearest are decoded, without padding."""
    monkeypatch.setattr("dpseg.model.cat_seg.PADDED_CLASSES", 3)
    monkeypatch.setattr("dpseg.model.cat_seg_aggregator.PADDED_CLASSES", 3)
    monkeypatch.setattr(reference, "PADDED", 3)
    found = score(model, pyramid, prompts, ForwardOptions())[0]
    logits, classes = expected(state, pyramid, prompts, most=3)
    assert len(classes) == 3
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_photo_to_logits_equals_the_reference(model, state, prompts):
    encoder = model.encoder
    side = reference.SIDE
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    pyramid = encoder.encode_image(image)
    pixels = (image - encoder.pixel_mean) / encoder.pixel_std
    embedding, first, second = reference.read_out(state, pixels)
    torch.testing.assert_close(pyramid.image_embedding, embedding, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pyramid.image_features[3], first, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pyramid.image_features[2], second, atol=1e-5, rtol=1e-4)
    logits, _ = reference.decode(state, embedding, first, second, prompts.text_embedding[:, 0])
    found = score(model, pyramid, prompts, ForwardOptions())
    assert found.shape == (1, CLASSES, 96, 96)
    torch.testing.assert_close(found[0], logits, atol=1e-4, rtol=1e-4)


def test_padding_is_no_masking(model, pyramid, prompts, monkeypatch):
    """The learned class that fills the vocabulary up changes every score."""
    plain = score(model, pyramid, prompts, ForwardOptions())
    monkeypatch.setattr("dpseg.model.cat_seg_aggregator.PADDED_CLASSES", CLASSES)
    assert not torch.allclose(score(model, pyramid, prompts, ForwardOptions()), plain, atol=1e-2)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_few_classes_at_a_time_come_out_as_all_at_once(model, pyramid, prompts, classes):
    whole = score(model, pyramid, prompts, ForwardOptions())
    parts = score(model, pyramid, prompts, ForwardOptions(class_chunk=classes))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_pictures_are_averaged_with_text_before_the_comparison(model, pyramid, prompts, normal):
    pictures = normal(CLASSES, 1, D)
    given = text_prompts(
        prompts.text_embedding, visual_embedding=pictures, visual_mask=torch.arange(CLASSES) < 3
    )
    joint = F.normalize(prompts.text_embedding, dim=-1) + F.normalize(pictures, dim=-1)
    joint = torch.where(given.visual_mask[:, None, None], joint, prompts.text_embedding)
    off = ForwardOptions(decoder=False)
    torch.testing.assert_close(
        score(model, pyramid, given, off), score(model, pyramid, text_prompts(joint), off)
    )
    plain = score(model, pyramid, prompts, ForwardOptions())
    assert not torch.allclose(score(model, pyramid, given, ForwardOptions()), plain)
    text_alone = score(model, pyramid, given, ForwardOptions(strategy="text"))
    torch.testing.assert_close(text_alone, plain)


def test_the_nearest_are_chosen(normal):
    cosines = normal(2, 5, 3, 4)
    for image, chosen in enumerate(choose_nearest(cosines, 2)):
        best = sorted(range(5), key=lambda k: -cosines[image, k].max())[:2]
        assert chosen.tolist() == sorted(best)


def test_windows_tile_the_map(normal):
    maps = normal(2, 24, 36, 3)
    windows = windows_of(maps)
    assert windows.shape == (2, 6, 144, 3)
    torch.testing.assert_close(windows[1, 4], maps[1, 12:, 12:24].flatten(0, 1))
    torch.testing.assert_close(maps_of(windows, (24, 36)), maps)
