"""Graphs that read their weights from the model's own file."""

import shutil

import numpy as np
import onnx
import pytest
import torch

from dpseg.engines.onnx_engine import OnnxEngine
from dpseg.engines.onnx_files import IMAGE_FILE, MODEL_FILE, ONNX_FILES, SCORE_FILE, TEXT_FILE
from dpseg.errors import CheckpointError
from dpseg.export.shared import share_weights
from dpseg.factory.lite import load_lite, save_lite

pytestmark = pytest.mark.slow

GRAPHS = (IMAGE_FILE, SCORE_FILE, TEXT_FILE)


@pytest.fixture(scope="module")
def shared_folder(exported_folder, tmp_path_factory):
    """The exported model, with what its graphs share with its weights taken out of them."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(exported_folder, folder, dirs_exist_ok=True)
    for name in GRAPHS:
        graph = onnx.load(folder / name)
        share_weights(graph, folder / MODEL_FILE)
        onnx.save(graph, folder / name)
        onnx.checker.check_model(folder / name)
    return folder


def test_trained_weights_are_kept_once(exported_folder, shared_folder):
    """Of image tower and decoder only small things stay; MiniLM is not in the model's file."""
    for name, share in ((IMAGE_FILE, 0.1), (SCORE_FILE, 0.4)):
        sizes = [(folder / name).stat().st_size for folder in (shared_folder, exported_folder)]
        assert sizes[0] < share * sizes[1]
    stored = {
        weight.name
        for weight in onnx.load(
            shared_folder / TEXT_FILE, load_external_data=False
        ).graph.initializer
    }
    assert "network.words.weight" in stored


def test_results_stay_the_same(exported_folder, shared_folder):
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    whole, shared = (OnnxEngine(folder, threads=1) for folder in (exported_folder, shared_folder))
    expected, found = (engine.encode_image(photo) for engine in (whole, shared))
    np.testing.assert_allclose(found.image_embedding, expected.image_embedding, atol=1e-5)
    texts = [engine.encode_text(["zebra", "sky"]).class_wise for engine in (whole, shared)]
    np.testing.assert_allclose(texts[1], texts[0], atol=1e-5)
    assert shared._score.get_inputs()[0].name == "image_embedding"  # it loads, too


def test_links_into_a_store_are_followed(shared_folder, tmp_path):
    """The hub's cache: a folder of links to files in another folder."""
    for folder in ("files", "model"):
        (tmp_path / folder).mkdir()
    for name in (*ONNX_FILES, MODEL_FILE):
        shutil.copy(shared_folder / name, tmp_path / "files")
        (tmp_path / "model" / name).symlink_to(f"../files/{name}")
    assert OnnxEngine(tmp_path / "model").info == OnnxEngine(shared_folder).info


def test_other_weights_beside_the_graphs_are_refused(shared_folder, tmp_path):
    shutil.copytree(shared_folder, tmp_path, dirs_exist_ok=True)
    model = load_lite(tmp_path / MODEL_FILE)
    with torch.no_grad():
        model.network.decoder.predict.weight += 1  # which no encoder's key tells of
    save_lite(model, tmp_path / MODEL_FILE)
    with pytest.raises(CheckpointError, match=f"another {MODEL_FILE}.*export the model again"):
        OnnxEngine(tmp_path)
    (tmp_path / MODEL_FILE).unlink()
    with pytest.raises(CheckpointError, match=MODEL_FILE):
        OnnxEngine(tmp_path)
