"""Models on CLIP towers, from their names and files to labels."""

import json

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import load_file, save_file

import err_seg_reference
from dpseg import Segmenter
from dpseg.encoders.open_clip import OpenClipEncoder
from dpseg.engines.protocol import PromptSet
from dpseg.errors import CheckpointError
from dpseg.factory.clip import ClipModel, clip_engine, load_clip, save_clip
from dpseg.factory.clip_names import named_clip_config
from dpseg.factory.config import PRESETS
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.load import load_engine
from dpseg.inference.distractors import distractor_names
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.templates import check_templates, imagenet_templates
from dpseg.prompts.text import encode_classes
from dpseg.vocabulary import Vocabulary
from encoders import test_vit


@pytest.fixture(scope="module")
def model(clip_config):
    torch.manual_seed(0)
    return ClipModel(clip_config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(model, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def photo():
    return skimage.data.chelsea()[:64, 100:196]


@pytest.fixture
def single_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


def test_saved_model_comes_back(model, folder):
    loaded = load_clip(folder / "model.safetensors")
    assert loaded.config == model.config
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())
    assert loaded.encoder_key() == model.encoder_key()


def test_prompt_encoder_of_its_own_comes_back(clip_config, tmp_path):
    model = ClipModel(clip_config)
    model.keep_prompt_tower()
    model.keep_prompt_tower()  # again changes nothing
    with torch.no_grad():
        model.encoder.clip.visual.head.proj.weight.mul_(3)
    save_clip(model, tmp_path / "model.safetensors")
    loaded = load_clip(tmp_path / "model.safetensors").encoder
    image = torch.rand(1, 3, 32, 32)
    seen, prompted = loaded.encode_image(image), loaded.encode_prompt(image)
    torch.testing.assert_close(seen.image_embedding, 3 * prompted.image_embedding)


def test_damaged_files_are_refused(folder, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="no weights at"):
        load_clip(path)
    path.write_bytes((folder / "model.safetensors").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="no model on CLIP towers"):
        load_clip(path)
    state = load_file(folder / "model.safetensors")
    save_file(state, path)
    with pytest.raises(CheckpointError, match="no model on CLIP towers: 'config'"):
        load_clip(path)
    config = json.dumps({"name": "x", "clip": "ViT-B-32", "pretrained": None})
    save_file(state, path, metadata={"config": config})
    with pytest.raises(CheckpointError, match="no shallow levels for a dpseg decoder"):
        load_clip(path)


def test_untrained_model_takes_the_highest_mean_cosine(folder, photo, single_precision):
    """Training-free: labels are the argmax of F_c, by numpy from embeddings alone."""
    engine, bank = load_engine(folder)
    assert bank is None
    assert not engine.options.decoder
    text, tokens, mask = encode_classes(engine, Vocabulary.of("cat, grass, a red wall"))
    none = np.zeros_like(text)
    levels = {j: np.zeros((3, 3, c), np.float32) for j, c in ((4, 48), (3, 32), (2, 24))}
    prompts = PromptSet(
        text_embedding=text,
        text_tokens=tokens,
        text_token_mask=mask,
        visual_embedding=none,
        visual_features=levels,
        visual_tokens=tokens[:, :1],
        visual_mask=np.zeros(3, bool),
    )
    features = engine.encode_image(photo)
    positions = features.image_embedding / np.linalg.norm(features.image_embedding, axis=0)
    expected = np.einsum("dhw,kmd->khw", positions, text) / text.shape[1]
    logits = engine.score(features, prompts)
    assert logits.shape == (3, 2, 3)
    np.testing.assert_array_equal(logits.argmax(0), expected.argmax(0))
    np.testing.assert_allclose(logits, np.e**3 * expected - 5, atol=1e-3)


def test_trained_decoder_takes_part(clip_config, tmp_path, photo):
    model = ClipModel(clip_config)
    torch.nn.init.normal_(model.network.decoder.predict.weight)
    save_clip(model, tmp_path / "model.safetensors")
    engine, _ = load_engine(tmp_path)
    assert engine.options.decoder
    segmenter = Segmenter(engine, cache=PromptCache(tmp_path / "cache"))
    result = segmenter(
        photo, ["cat", "grass"], examples={"cat": [photo[:32, :32]]}, refine=1, unlabelled=False
    )
    assert result.labels.shape == photo.shape[:2]
    assert set(np.unique(result.labels)) <= {0, 1}
    assert result.scores.shape[0] == 2
    assert "cat" in str(result.explain(x=3, y=3))


def test_words_alone_go_through_the_baseline(sed_config, photo, tmp_path):
    model = ClipModel(sed_config)
    segmenter = Segmenter(clip_engine(model), cache=PromptCache(tmp_path))
    result = segmenter(photo, ["cat", "grass", "sky"], unlabelled=False)
    assert set(np.unique(result.labels)) <= {0, 1, 2}
    assert segmenter.info.name == "sed-tiny"


SURER = 6.0  # added to logits, so that regions count for refinement


@pytest.fixture(scope="module")
def err_seg(err_seg_config):
    model, _ = import_checkpoint(err_seg_reference.tiny_checkpoint(), config=err_seg_config)
    with torch.no_grad():
        model.network.decoder.head.bias.add_(SURER)
    return model


def test_err_seg_hears_the_first_word_alone(err_seg, photo, tmp_path, single_precision):
    """Words alone give what ERR-Seg computes, of a class's first word; labels by sigmoid."""
    segmenter, photo = Segmenter(clip_engine(err_seg), cache=PromptCache(tmp_path)), photo[:, :64]
    names = ["cat", "grass", "sky"]
    result = segmenter(
        photo, ["cat|feline", *names[1:]], unlabelled=False, prompts="text", snap=False
    )
    images = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
    text = err_seg.encoder.encode_text([f"A photo of a {name} in the scene" for name in names])
    with torch.no_grad():
        pyramid = err_seg.encoder.encode_image(images)
        logits, _ = err_seg_reference.Reference(err_seg_reference.tiny_checkpoint())(
            pyramid.image_embedding,
            pyramid.coarse_embedding,
            pyramid.image_features,
            text.class_wise,
            chosen=3,
        )
    found = np.log(result.scores) - np.log1p(-result.scores)
    np.testing.assert_allclose(found, logits.numpy() + SURER, atol=2e-2)


def test_err_seg_takes_pictures_and_refines(err_seg, photo, tmp_path):
    segmenter = Segmenter(clip_engine(err_seg), cache=PromptCache(tmp_path))
    asked = {"classes": ["cat", "grass"], "unlabelled": False}
    words = segmenter(photo, **asked)
    assert np.array_equal(words.scores, segmenter(photo, **asked, prompts="text").scores)
    shown = segmenter(photo, **asked, examples={"cat": [photo[:32, :32]]})
    assert not np.allclose(shown.scores, words.scores)
    for mode in ("pool", "crop"):
        refined = segmenter(photo, **asked, refine=2, refine_mode=mode)
        assert refined.settings["refine_rounds"] > 0
        assert not np.allclose(refined.scores, words.scores)


def test_encoder_key_follows_every_tower(clip_config, model):
    keys = {model.encoder_key()}
    for weight in ("clip.text_projection", "clip.visual.head.proj.weight"):
        torch.manual_seed(0)
        other = ClipModel(clip_config)
        with torch.no_grad():
            other.encoder.get_parameter(weight).add_(0.1)
        keys.add(other.encoder_key())
    assert len(keys) == 3


def test_presets_are_the_papers():
    for network in ("dpseg", "sed"):
        base, large = (PRESETS[f"{network}-convnext-{size}"] for size in "bl")
        assert (base.clip, large.clip) == ("convnext_base_w_320", "convnext_large_d_320")
        assert base.pretrained == "laion_aesthetic_s13b_b82k"
        assert large.pretrained == "laion2b_s29b_b131k_ft_soup"
        assert base.network == network


def test_imagenet_templates_are_sentences_with_one_gap():
    templates = imagenet_templates()
    assert len(set(check_templates(templates))) == 80
    assert templates[0] == "a bad photo of a {}."


@pytest.mark.parametrize(
    ("name", "clip", "pretrained"),
    [
        ("dpseg-convnext-b", "convnext_base_w_320", "laion_aesthetic_s13b_b82k"),
        ("dpseg-convnext-l:mine.pt", "convnext_large_d_320", "mine.pt"),
        ("convnext_base", "convnext_base", "laion400m_s13b_b51k"),
        ("convnext_base_w:laion2b_s13b_b82k", "convnext_base_w", "laion2b_s13b_b82k"),
        ("convnext_tiny:mine.pt", "convnext_tiny", "mine.pt"),
        ("convnext_base@16", "convnext_base", "laion400m_s13b_b51k"),
    ],
)
def test_names_choose_towers_and_weights(name, clip, pretrained):
    config = named_clip_config(name)
    assert (config.clip, config.pretrained, config.network) == (clip, pretrained, "dpseg")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sed-convnext-b", "dpseg import FILE"),
        ("convnext_base_w", "convnext_base_w:WEIGHTS .*laion2b_s13b_b82k_augreg"),
        ("convnext_tiny", "give a file"),
        ("convnext_huge", "'convnext_huge' is neither a preset .*dpseg-lite"),
        ("convnext_base@8", "stride '8'; 16 and 32"),
        ("ViT-B-16-quickgelu", "ViT-B-16-quickgelu:WEIGHTS .*metaclip_fullcc"),
        ("dpseg-convnext-b:nowhere.pt", "neither a file nor a tag"),
    ],
)
def test_names_that_say_too_little_are_refused(name, message):
    with pytest.raises(CheckpointError, match=message):
        load_engine(name)


def test_stride_16_is_asked_for_by_name():
    fine, plain = (named_clip_config(f"convnext_base{at}") for at in ("@16", ""))
    assert (fine.embedding_stride, plain.embedding_stride) == (16, 32)


@pytest.mark.parametrize(
    ("name", "reading", "window", "size", "mean"),
    [
        ("ViT-B-16-SigLIP2-512", "value", None, 512, 0.5),
        ("MobileCLIP2-B", "value", (224, 112), 448, 0.0),
        ("ViT-B-16-quickgelu:metaclip_400m", "naclip", (224, 112), 448, 0.48145466),
    ],
)
def test_vision_transformers_are_read_as_their_towers_ask(name, reading, window, size, mean):
    config = named_clip_config(name)
    assert (config.network, config.reading, config.window) == ("cosine", reading, window)
    assert (config.image_size, config.guidance_levels) == (size, ())
    assert config.pixel_statistics[0][0] == pytest.approx(mean)


@pytest.mark.parametrize("kind", ["vit", "fine"])
def test_what_is_read_without_training_goes_through_the_segmenter(
    kind, clip_config, photo, tmp_path
):
    if kind == "vit":
        changes = {
            "clip": "ViT-B-16-quickgelu",
            "architecture": test_vit.PLAIN,
            "network": "cosine",
            "guidance_levels": (),
            "window": (32, 16),
            "reading": "naclip",
        }
    else:
        changes = {"embedding_stride": 16}
    model = ClipModel(clip_config.model_copy(update={"name": kind, **changes}))
    save_clip(model, tmp_path / "model.safetensors")
    engine, _ = load_engine(tmp_path)
    assert engine.encode_image(photo).image_embedding.shape[1:] == (4, 6)
    segmenter = Segmenter(engine, cache=PromptCache(tmp_path / "cache"))
    shown = {"cat": [photo[:32, :32]]}
    result = segmenter(photo, ["cat", "grass"], examples=shown, refine=1, unlabelled=False)
    assert result.labels.shape == photo.shape[:2]
    assert set(np.unique(result.labels)) <= {0, 1}
    other = clip_config.model_copy(update={"name": kind, **changes, "window": (48, 16)})
    changed = ClipModel(other)
    changed.load_state_dict(model.state_dict())
    assert changed.encoder_key() != model.encoder_key()


@pytest.mark.parametrize("network", ["dpseg", "err-seg", "sed"])
def test_a_first_call_encodes_few_sentences(
    network, clip_config, err_seg_config, sed_config, photo, tmp_path, monkeypatch
):
    """Each name once, also the distractors; as often as there are templates where they count."""
    configs = {"dpseg": clip_config, "err-seg": err_seg_config, "sed": sed_config}
    templates = 80 if network == "sed" else len(configs[network].templates)
    config = configs[network].model_copy(
        update={"templates": tuple(f"a {n} of {{}}" for n in range(templates))}
    )
    save_clip(ClipModel(config), tmp_path / "model.safetensors")
    engine, _ = load_engine(tmp_path)
    encoded = []
    encode = engine.encode_text
    monkeypatch.setattr(engine, "encode_text", lambda texts: encoded.extend(texts) or encode(texts))
    cache = PromptCache(tmp_path / "cache")
    names = ["cat", "dahlia", "zebra", "lawn", "saxophone"]
    result = Segmenter(engine, cache=cache)(photo, names)
    once = len({*names, *distractor_names()})
    assert once <= 200
    if network == "sed":
        assert len(encoded) <= once + templates * (5 + len(result.settings["distractors"]))
    else:
        assert len(encoded) == len(set(encoded)) == once
    encoded.clear()
    Segmenter(engine, cache=cache)(photo, names)
    assert not encoded


def test_named_preset_runs_through_the_segmenter(clip_config, photo, tmp_path, monkeypatch):
    """A preset by name, its weights from a local file as they would come from the hub."""
    path = tmp_path / "clip.pt"
    tiny = clip_config.architecture
    encoder = OpenClipEncoder("convnext_tiny", pretrained=None, architecture=tiny)
    torch.save(encoder.clip.state_dict(), path)
    monkeypatch.setitem(PRESETS, "dpseg-tiny", clip_config)
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    segmenter = Segmenter.from_pretrained(f"dpseg-tiny:{path}")
    result = segmenter(photo, "cat, grass", unlabelled=False)
    assert result.labels.shape == photo.shape[:2]
