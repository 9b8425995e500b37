"""The torch engine behind the seam."""

import copy
import warnings

import numpy as np
import pytest
import skimage.data
import torch

from dpseg.arrays import PromptSet
from dpseg.engines import torch_engine as module
from dpseg.engines.protocol import ImageFeatures
from dpseg.errors import ShapeError
from dpseg.factory.lite import lite_engine

CLASSES, TEMPLATES, TOKENS = 5, 4, 3


@pytest.fixture(scope="module")
def torch_engine(lite_model, text_tower):
    return lite_engine(copy.deepcopy(lite_model), text_tower=text_tower)


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    """Compute in single precision on any processor, so that results can be compared."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


@pytest.fixture
def photo():
    return skimage.data.chelsea()[:96, 100:228]


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)

    def unit(*shape):
        vectors = generator.normal(size=shape).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    return PromptSet(
        text_embedding=unit(CLASSES, TEMPLATES, 512),
        visual_embedding=unit(CLASSES, TEMPLATES, 512),
        visual_features={j: unit(CLASSES, TEMPLATES, c) for j, c in ((4, 120), (3, 48), (2, 24))},
        text_tokens=unit(CLASSES, TOKENS, 512),
        text_token_mask=np.arange(TOKENS) <= np.arange(CLASSES)[:, None],
        visual_tokens=unit(CLASSES, 4, 512),
        visual_mask=np.array([True, True, False, True, True]),
    )


def test_info_tells_the_models_settings(torch_engine, lite_model):
    info, config = torch_engine.info, lite_model.config
    assert info.encoder_key == lite_model.encoder_key()
    assert info.stride == 16
    assert info.levels == config.guidance_levels
    assert info.templates == config.templates
    assert (info.name, info.image_size) == (config.name, config.image_size)
    assert info.score_threshold == config.score_threshold


@torch.inference_mode()
def test_images_are_scaled_and_laid_out_as_the_tower_wants(torch_engine, lite_model, photo):
    features = torch_engine.encode_image(photo)
    pixels = torch.from_numpy(photo.transpose(2, 0, 1)[None] / np.float32(255))
    expected = lite_model.tower(pixels)
    np.testing.assert_allclose(
        features.image_embedding, expected.image_embedding[0], atol=1e-4, rtol=1e-3
    )
    assert list(features.image_features) == [4, 3, 2]
    for level, found in features.image_features.items():
        reference = expected.image_features[level][0]
        np.testing.assert_allclose(found, reference, atol=1e-4, rtol=1e-3)
        assert found.flags.c_contiguous
    prompt = torch_engine.encode_prompt(photo)
    np.testing.assert_array_equal(prompt.image_embedding, features.image_embedding)


def test_mirrored_and_frozen_pictures_are_taken(torch_engine, photo):
    mirrored = photo[:, ::-1]
    frozen = mirrored.copy()
    frozen.flags.writeable = False
    expected = torch_engine.encode_image(mirrored.copy()).image_embedding
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(torch_engine.encode_image(mirrored).image_embedding, expected)
        np.testing.assert_array_equal(torch_engine.encode_image(frozen).image_embedding, expected)


@pytest.mark.parametrize("size_hw", [(96, 100), (90, 128)])
def test_sides_off_the_stride_are_refused(torch_engine, size_hw):
    with pytest.raises(ShapeError, match=rf"\({size_hw[0]}, {size_hw[1]}\).*16"):
        torch_engine.encode_image(np.zeros((*size_hw, 3), np.uint8))


@torch.inference_mode()
def test_text_goes_through_the_map_into_the_joint_space(torch_engine, lite_model, text_tower):
    found = torch_engine.encode_text(["cat", "a photo of a red car"])
    whole, tokens, mask = text_tower.encode(["cat", "a photo of a red car"])
    np.testing.assert_allclose(found.class_wise, lite_model.text_map(whole), atol=1e-5)
    assert found.token_mask.sum(axis=1).tolist() == [1, 6]
    np.testing.assert_array_equal(found.token_mask, mask)
    expected = lite_model.text_map(tokens[mask])
    np.testing.assert_allclose(found.token_wise[found.token_mask], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.class_wise, axis=-1), 1, atol=1e-5)


@torch.inference_mode()
def test_scores_are_the_networks(torch_engine, lite_model, photo, arrays):
    features = torch_engine.encode_image(photo)
    logits = torch_engine.score(features, arrays)
    assert logits.shape == (CLASSES, 24, 32)
    assert logits.dtype == np.float32
    expected = lite_model.network(
        torch.from_numpy(features.image_embedding)[None],
        {j: torch.from_numpy(f)[None] for j, f in features.image_features.items()},
        arrays.map(torch.from_numpy),
        torch_engine.options,
    )
    np.testing.assert_allclose(logits, expected[0], atol=1e-4, rtol=1e-4)


def test_switches_are_the_models_own_or_given(torch_engine, photo, arrays):
    assert torch_engine.options.top_k == 8
    plain = lite_engine(torch_engine.model, options=torch_engine.options.replace(decoder=False))
    logits = plain.score(plain.encode_image(photo), arrays)
    assert logits.shape == (CLASSES, 6, 8)


def test_half_width_numbers_change_scores_little(torch_engine, photo, arrays, monkeypatch):
    features = torch_engine.encode_image(photo)
    exact = torch_engine.score(features, arrays)
    monkeypatch.setattr(module, "fast_types", lambda _: torch.autocast("cpu", dtype=torch.bfloat16))
    rounded = torch_engine.score(features, arrays)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).mean() < 0.05 * exact.std() + 0.05


def test_running_leaves_no_gradients(torch_engine, photo, arrays):
    features = torch_engine.encode_image(photo)
    torch_engine.score(features, arrays)
    assert not any(p.requires_grad for p in torch_engine.model.parameters())
    assert isinstance(features, ImageFeatures)
