"""CLIP encoders on a tiny ConvNeXt with random weights."""

import huggingface_hub
import open_clip
import pytest
import torch
from torch.nn import functional as F

from dpseg.encoders.open_clip import OpenClipEncoder, joint_dimension, published_weights
from dpseg.errors import CheckpointError
from sed_reference import ARCHITECTURE

SENTENCES = ["cat", "a photo of a large dog on the grass", "grey potted plant"]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return OpenClipEncoder("convnext_tiny", pretrained=None, architecture=ARCHITECTURE).eval()


def test_sentences_are_clips_own_embeddings(encoder):
    ids = open_clip.SimpleTokenizer()(SENTENCES)
    with torch.no_grad():
        expected = encoder.clip.encode_text(ids, normalize=True)
    torch.testing.assert_close(encoder.encode_text(SENTENCES).class_wise, expected)


def test_words_are_told_from_padding(encoder):
    embedded = encoder.encode_text(SENTENCES)
    assert embedded.token_mask.sum(1).tolist() == [1, 9, 3]
    assert embedded.token_wise.shape[:2] == embedded.token_mask.shape
    torch.testing.assert_close(
        embedded.token_wise[embedded.token_mask].norm(dim=-1), torch.ones(13)
    )
    alone = encoder.encode_text(SENTENCES[:1])
    torch.testing.assert_close(embedded.token_wise[0, :1], alone.token_wise[0, :1])


def test_many_sentences_are_embedded_as_few(encoder, monkeypatch):
    whole = encoder.encode_text(SENTENCES)
    monkeypatch.setattr("dpseg.encoders.open_clip.BATCH", 1)
    parts = encoder.encode_text(SENTENCES)
    torch.testing.assert_close(parts.class_wise, whole.class_wise)
    torch.testing.assert_close(parts.token_mask, whole.token_mask)
    mask = whole.token_mask
    torch.testing.assert_close(parts.token_wise[mask], whole.token_wise[mask])


def test_endless_sentences_are_cut(encoder):
    embedded = encoder.encode_text(["cat " * 3000])
    assert embedded.token_mask.sum() == 75
    assert embedded.class_wise.isfinite().all()


@torch.no_grad()
def test_a_picture_of_one_position_is_clips_own_embedding(encoder):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    expected = encoder.clip.encode_image((image - mean) / std)
    found = encoder.encode_image(image).image_embedding
    assert found.shape == (1, 16, 1, 1)
    torch.testing.assert_close(found[..., 0, 0], expected)


@torch.no_grad()
def test_levels_are_the_trunks_stages(encoder):
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    pyramid = encoder.encode_image(image)
    pixels = (image - encoder.pixel_mean) / encoder.pixel_std
    stages = encoder.clip.visual.trunk.forward_intermediates(pixels, intermediates_only=True)
    assert list(pyramid.image_features) == [4, 3, 2]
    assert pyramid.image_embedding.shape == (2, 16, 2, 3)
    for level, found in pyramid.image_features.items():
        torch.testing.assert_close(found, stages[level - 2])
        assert found.shape[1] == encoder.level_channels[level]


@torch.no_grad()
def test_stride_16_is_the_towers_own_last_stage_run_again(normal):
    """By timm's parts: downsampling at stride 1 in a frame of zeros, blocks, norm, projection."""
    torch.manual_seed(0)
    fine = OpenClipEncoder(
        "convnext_tiny", pretrained=None, architecture=ARCHITECTURE, embedding_stride=16
    ).eval()
    pyramid = fine.encode_image(
        torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    )
    visual = fine.clip.visual
    norm, convolution = visual.trunk.stages[3].downsample
    framed = F.pad(norm(pyramid.image_features[4]), (1, 1, 1, 1))
    x = F.conv2d(framed, convolution.weight, convolution.bias)
    assert x.shape[2:] == (5, 7)
    x = F.interpolate(x, (4, 6), mode="bilinear", align_corners=False)
    x = visual.trunk.head.norm(visual.trunk.stages[3].blocks(x))
    expected = visual.head(x.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(pyramid.image_embedding, expected)
    assert pyramid.coarse_embedding is None
    assert list(pyramid.image_features) == [4, 3, 2]


def test_prompt_encoder_stays_behind(encoder):
    image = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    before = encoder.encode_image(image).image_embedding.detach()
    torch.testing.assert_close(encoder.encode_prompt(image).image_embedding, before)
    encoder.keep_prompt_tower()
    with torch.no_grad():
        encoder.clip.visual.head.proj.weight.mul_(2)
    torch.testing.assert_close(encoder.encode_prompt(image).image_embedding, before)
    torch.testing.assert_close(encoder.encode_image(image).image_embedding, 2 * before)
    with torch.no_grad():
        encoder.clip.visual.head.proj.weight.mul_(0.5)


def test_only_the_image_tower_learns(encoder):
    encoder.keep_prompt_tower()
    image = torch.rand(1, 3, 32, 32)
    encoder.encode_image(image).image_embedding.sum().backward()
    trained = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert trained
    assert all(name.startswith("clip.visual.") for name in trained)
    assert not encoder.encode_prompt(image).image_embedding.requires_grad
    assert {n for n, p in encoder.named_parameters() if p.requires_grad} == trained
    encoder.zero_grad()


def test_published_weights_are_known_without_making_the_model():
    assert "laion_aesthetic_s13b_b82k" in published_weights("convnext_base_w_320")
    assert "metaclip_400m" in published_weights("ViT-B-32")
    assert published_weights("RN50") is None
    assert published_weights("convnext_huge") is None
    assert joint_dimension("convnext_large_d_320") == 768
    assert joint_dimension("convnext_tiny", ARCHITECTURE) == 16


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-32", None, "'ViT-B-32' is not among .*convnext_base_w_320"),
        ("convnext_base_w", "laion9", "'laion9'.*laion2b_s13b_b82k_augreg"),
    ],
)
def test_what_cannot_be_had_is_refused(name, pretrained, message):
    with pytest.raises(CheckpointError, match=message):
        OpenClipEncoder(name, pretrained=pretrained)


def test_weights_from_a_file(encoder, tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(encoder.clip.state_dict(), path)
    again = OpenClipEncoder("convnext_tiny", pretrained=str(path), architecture=ARCHITECTURE)
    torch.testing.assert_close(again.clip.state_dict(), encoder.clip.state_dict())
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"clip\.pt"):
        OpenClipEncoder("convnext_tiny", pretrained=str(path), architecture=ARCHITECTURE)


def test_unreachable_hub_is_told_once(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"convnext_base_w_320 .*give a local file"):
        OpenClipEncoder("convnext_base_w_320", pretrained="laion_aesthetic_s13b_b82k")
    assert capfd.readouterr().err == ""


def test_cosines_of_positions_and_words_share_a_space(encoder):
    image = torch.rand(1, 3, 64, 64)
    positions = F.normalize(encoder.encode_image(image).image_embedding, dim=1)
    words = encoder.encode_text(SENTENCES).class_wise
    assert torch.einsum("bdhw,kd->bkhw", positions, words).abs().max() <= 1 + 1e-5
