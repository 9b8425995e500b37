"""Exported graphs against the torch engine on the same weights, with everything free that may vary.

The model has random weights, so that its scores spread and a wrong graph cannot hide.
"""

import contextlib
import shutil
import sys

import numpy as np
import pytest

from dpseg.arrays import PromptSet
from dpseg.engines.onnx_engine import OnnxEngine
from dpseg.engines.onnx_files import IMAGE_FILE, ONNX_FILES, SCORE_FILE, TEXT_FILE, TOKENIZER_FILE
from dpseg.engines.protocol import ImageFeatures
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import CheckpointError, MissingExtraError, ShapeError
from dpseg.export.model import export_model
from dpseg.factory.load import load_engine

pytestmark = pytest.mark.slow

SENTENCES = ["zebra", "a photo of a double-decker bus, at night", "Straße", ""]


@pytest.fixture(scope="module")
def torch_engine(trained_folder):
    """The torch engine in single precision, on every processor."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("dpseg.engines.torch_engine.fast_types", contextlib.nullcontext)
        engine, _ = load_engine(trained_folder)
        assert isinstance(engine, TorchEngine)
        yield engine


@pytest.fixture(scope="module")
def onnx_engine(exported_folder):
    return OnnxEngine(exported_folder, threads=1)


def picture(height, width):
    generator = np.random.default_rng(height * width)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def prompts_of(features: ImageFeatures, classes: int, tokens: int, parts: int) -> PromptSet:
    """Prompts of which some resemble the picture, and some classes lack pictures and tokens."""
    generator = np.random.default_rng(classes)
    positions = features.image_embedding.reshape(len(features.image_embedding), -1).T  # (h w) D

    def near_positions(*shape):
        chosen = positions[generator.integers(0, len(positions), shape)]
        return (chosen + generator.normal(size=chosen.shape)).astype(np.float32)

    levels = {
        level: generator.normal(size=(classes, 4, maps.shape[0])).astype(np.float32)
        for level, maps in features.image_features.items()
    }
    token_mask = generator.random((classes, tokens)) < 0.8
    token_mask[0] = False
    return PromptSet(
        text_embedding=near_positions(classes, 4),
        visual_embedding=near_positions(classes, 4),
        visual_features=levels,
        text_tokens=near_positions(classes, tokens),
        text_token_mask=token_mask,
        visual_tokens=near_positions(classes, parts),
        visual_mask=np.arange(classes) % 3 != 0,
    )


def test_info_survives(torch_engine, onnx_engine):
    assert onnx_engine.info == torch_engine.info


@pytest.mark.parametrize("size_hw", [(16, 16), (16, 512), (96, 64), (208, 304)])
def test_pictures_of_any_size_have_the_same_features(torch_engine, onnx_engine, size_hw):
    expected = torch_engine.encode_image(picture(*size_hw))
    found = onnx_engine.encode_image(picture(*size_hw))
    np.testing.assert_allclose(found.image_embedding, expected.image_embedding, atol=1e-3)
    assert list(found.image_features) == list(expected.image_features)
    for level, maps in expected.image_features.items():
        np.testing.assert_allclose(found.image_features[level], maps, atol=1e-3)
    prompt = onnx_engine.encode_prompt(picture(*size_hw))
    np.testing.assert_array_equal(prompt.image_embedding, found.image_embedding)


def test_sides_must_be_multiples_of_the_stride(onnx_engine):
    with pytest.raises(ShapeError, match="multiples of 16"):
        onnx_engine.encode_image(picture(17, 32))


@pytest.mark.parametrize("sentences", [SENTENCES, SENTENCES[:1], ["cat " * 5000, "dog"], []])
def test_sentences_have_the_same_embedding(torch_engine, onnx_engine, sentences):
    expected, found = (r.encode_text(sentences) for r in (torch_engine, onnx_engine))
    np.testing.assert_allclose(found.class_wise, expected.class_wise, atol=1e-3)
    np.testing.assert_array_equal(found.token_mask, expected.token_mask)
    mask = expected.token_mask
    np.testing.assert_allclose(found.token_wise[mask], expected.token_wise[mask], atol=1e-3)


def test_neighbours_in_a_batch_do_not_matter(onnx_engine, monkeypatch):
    together = onnx_engine.encode_text(SENTENCES)
    monkeypatch.setattr("dpseg.encoders.tokens.BATCH", 2)
    apart = onnx_engine.encode_text(SENTENCES)
    np.testing.assert_allclose(apart.class_wise, together.class_wise, atol=1e-5)
    mask = together.token_mask
    np.testing.assert_allclose(apart.token_wise[mask], together.token_wise[mask], atol=1e-5)


@pytest.mark.parametrize(
    ("size_hw", "classes", "tokens", "parts"),
    [((16, 16), 1, 1, 1), ((16, 96), 3, 2, 4), ((64, 48), 8, 5, 4), ((96, 128), 60, 16, 4)],
)
def test_any_vocabulary_has_the_same_scores(
    torch_engine, onnx_engine, size_hw, classes, tokens, parts
):
    features = torch_engine.encode_image(picture(*size_hw))
    prompts = prompts_of(features, classes, tokens, parts)
    expected, found = (r.score(features, prompts) for r in (torch_engine, onnx_engine))
    assert found.shape == (classes, size_hw[0] // 4, size_hw[1] // 4)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.mean(found.argmax(0) == expected.argmax(0)) >= 0.999


def test_the_graph_rejects_classes_early(torch_engine, onnx_engine):
    """Rejection is in force: without it, the same prompts score differently."""
    features = torch_engine.encode_image(picture(32, 32))
    prompts = prompts_of(features, 60, 3, 4)
    whole = torch_engine.with_options(top_k=None).score(features, prompts)
    assert np.abs(onnx_engine.score(features, prompts) - whole).max() > 1e-2


def test_exported_folder_is_preferred(exported_folder, trained_folder, tmp_path):
    shutil.copytree(exported_folder, tmp_path, dirs_exist_ok=True)
    assert isinstance(load_engine(tmp_path)[0], OnnxEngine)
    assert isinstance(load_engine(tmp_path, engine="torch")[0], TorchEngine)
    (tmp_path / TOKENIZER_FILE).unlink()
    assert isinstance(load_engine(tmp_path)[0], TorchEngine)
    with pytest.raises(CheckpointError, match=IMAGE_FILE):
        load_engine(trained_folder, engine="onnx")


@pytest.mark.parametrize("name", [IMAGE_FILE, TEXT_FILE, SCORE_FILE, TOKENIZER_FILE])
def test_damaged_files_are_named(exported_folder, tmp_path, name):
    for file in ONNX_FILES:
        (tmp_path / file).symlink_to(exported_folder / file)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(b"{ not what it should be")
    with pytest.raises(CheckpointError, match=name):
        use_all(OnnxEngine(tmp_path))


def use_all(engine: OnnxEngine) -> None:
    features = engine.encode_image(picture(16, 16))
    engine.encode_text(["cat"])
    engine.score(features, prompts_of(features, 1, 1, 1))


def test_graphs_of_two_exports_are_refused(exported_folder, tmp_path):
    import onnx

    shutil.copytree(exported_folder, tmp_path, dirs_exist_ok=True)
    graph = onnx.load(tmp_path / SCORE_FILE)
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    other = {key: text.replace('"dpseg-lite"', '"other"') for key, text in properties.items()}
    onnx.helper.set_model_props(graph, other)
    onnx.save(graph, tmp_path / SCORE_FILE)
    with pytest.raises(CheckpointError, match="export the model again"):
        use_all(OnnxEngine(tmp_path))
    onnx.helper.set_model_props(graph, {"some": "other program"})
    onnx.save(graph, tmp_path / IMAGE_FILE)
    with pytest.raises(CheckpointError, match="no graph of a dpseg-lite model"):
        OnnxEngine(tmp_path)


@pytest.mark.parametrize("module", ["torch", "onnxscript"])
def test_missing_extra_is_named(trained_folder, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"dpseg\[onnx\]"):
        export_model(trained_folder, tmp_path)
