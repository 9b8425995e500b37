"""Exported models on CLIP towers against torch, with the vocabulary and the picture's size free."""

import contextlib

import numpy as np
import pytest
import torch

import err_seg_reference
from dpseg import Segmenter
from dpseg.arrays import PromptSet
from dpseg.engines.onnx_engine import OnnxEngine
from dpseg.errors import CheckpointError
from dpseg.export.clip import export_clip
from dpseg.export.model import export_model
from dpseg.factory.clip import ClipModel, clip_engine, save_clip
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.load import load_engine
from dpseg.prompts.cache import PromptCache

pytestmark = pytest.mark.slow

SENTENCES = ["cat", "a photo of a double-decker bus, at night", "Straße", ""]


@pytest.fixture(scope="module", params=["dpseg", "sed", "err-seg"])
def pair(request, clip_config, sed_config, err_seg_config, tmp_path_factory):
    """The torch engine in single precision, and the exported one."""
    torch.manual_seed(0)
    if request.param == "err-seg":
        state = err_seg_reference.tiny_checkpoint()
        model, _ = import_checkpoint(state, config=err_seg_config)
    else:
        model = ClipModel({"dpseg": clip_config, "sed": sed_config}[request.param])
        model.keep_prompt_tower()
        for parameter in model.parameters():  # an untrained decoder is silent
            parameter.data += 0.02 * torch.randn_like(parameter)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("dpseg.engines.torch_engine.fast_types", contextlib.nullcontext)
        folder = tmp_path_factory.mktemp(request.param)
        engine = clip_engine(model)
        export_clip(engine, folder, image="fp32", text="fp32")
        yield engine, OnnxEngine(folder, threads=1)


def picture(height, width):
    generator = np.random.default_rng(height * width)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def prompts_of(features, classes, templates):
    """Prompts of which some resemble the picture; a third of the classes has no picture."""
    generator = np.random.default_rng(classes)
    positions = features.image_embedding.reshape(len(features.image_embedding), -1).T  # (h w) D

    def near(*shape):
        chosen = positions[generator.integers(0, len(positions), shape)]
        return (chosen + generator.normal(size=chosen.shape)).astype(np.float32)

    return PromptSet(
        text_embedding=near(classes, templates),
        text_tokens=near(classes, 3),
        text_token_mask=generator.random((classes, 3)) < 0.8,
        visual_embedding=near(classes, templates),
        visual_features={
            level: generator.normal(size=(classes, templates, len(maps))).astype(np.float32)
            for level, maps in features.image_features.items()
        },
        visual_tokens=near(classes, 2),
        visual_mask=np.arange(classes) % 3 != 0,
    )


def test_pictures_of_any_size_have_the_same_features(pair):
    for encode in ("encode_image", "encode_prompt"):
        expected, found = (getattr(engine, encode)(picture(64, 160)) for engine in pair)
        np.testing.assert_allclose(found.image_embedding, expected.image_embedding, atol=1e-3)
        assert (found.coarse_embedding is None) == (expected.coarse_embedding is None)
        if expected.coarse_embedding is not None:
            np.testing.assert_allclose(found.coarse_embedding, expected.coarse_embedding, atol=1e-3)
        assert list(found.image_features) == list(expected.image_features)
        for level, maps in expected.image_features.items():
            np.testing.assert_allclose(found.image_features[level], maps, atol=1e-3)


def test_sentences_have_the_same_prompts(pair):
    expected, found = (engine.encode_text(SENTENCES) for engine in pair)
    np.testing.assert_allclose(found.class_wise, expected.class_wise, atol=1e-4)
    for row in range(len(SENTENCES)):
        np.testing.assert_allclose(
            found.token_wise[row][found.token_mask[row]],
            expected.token_wise[row][expected.token_mask[row]],
            atol=1e-4,
        )


@pytest.mark.parametrize(("classes", "size_hw"), [(1, (64, 64)), (5, (64, 160)), (70, (128, 96))])
def test_any_vocabulary_has_the_same_logits(pair, classes, size_hw):
    torch_engine, onnx_engine = pair
    features = torch_engine.encode_image(picture(*size_hw))
    prompts = prompts_of(features, classes, len(torch_engine.info.templates))
    expected = torch_engine.score(features, prompts)
    found = onnx_engine.score(features, prompts)
    rejected = err_seg_reference.REJECTED  # ties of classes without a vote may be broken otherwise
    chosen = (expected != rejected) & (found != rejected)
    assert chosen.mean() > 0.3
    np.testing.assert_allclose(found[chosen], expected[chosen], atol=1e-3, rtol=1e-4)
    assert ((expected == rejected).sum()) == ((found == rejected).sum())


@pytest.mark.parametrize("precision", ["fp16", "int8-weights"])
def test_a_folder_of_graphs_runs_by_itself(precision, err_seg_config, tmp_path):
    model, _ = import_checkpoint(err_seg_reference.tiny_checkpoint(), config=err_seg_config)
    (tmp_path / "model").mkdir()
    save_clip(model, tmp_path / "model/model.safetensors")
    files = export_model(tmp_path / "model", tmp_path / "out", image=precision, text=precision)
    assert {file.name for file in files} == {
        "model-image.onnx", "model-text.onnx", "model-score.onnx", "model-tokenizer.json"
    }  # fmt: skip
    engine, _ = load_engine(tmp_path / "out")
    assert isinstance(engine, OnnxEngine)
    exact = clip_engine(model, brief=True)
    assert engine.info == exact.info
    found, expected = (one.encode_image(picture(64, 64)).image_embedding for one in (engine, exact))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=(0.02 if precision == "fp16" else 0.2) * scale)
    result = Segmenter(engine, cache=PromptCache(tmp_path / "cache"))(picture(50, 70), "cat, sky")
    assert result.labels.shape == (50, 70)
    with pytest.raises(CheckpointError, match="fp32, fp16 or int8-weights"):
        export_model(tmp_path / "model", tmp_path / "out", image="fp16", text="int8")


def test_models_on_vision_transformers_are_refused(cat_seg_config, tmp_path):
    engine = clip_engine(ClipModel(cat_seg_config))
    with pytest.raises(CheckpointError, match="cat-seg-tiny is not exported: it has no ConvNeXt"):
        export_clip(engine, tmp_path, image="fp32", text="fp32")
