"""The model in the package: its graphs and its weights belong together, and torch is not needed."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
from skimage import data

from dpseg import Segmenter, Vocabulary
from dpseg.engines.onnx_engine import OnnxEngine
from dpseg.engines.torch_engine import TorchEngine
from dpseg.factory.load import load_engine, model_files
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.prompt_set import build_prompts

NAMES = Vocabulary.load("voc20")


@pytest.fixture(scope="module")
def engines():
    """The shipped model on onnxruntime and, in single precision, on torch; its bank."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("dpseg.engines.torch_engine.fast_types", contextlib.nullcontext)
        onnx, bank = load_engine("dpseg-lite", engine="onnx")
        torch, _ = load_engine("dpseg-lite", engine="torch")
        yield onnx, torch, bank


def test_graphs_and_weights_give_the_same_results(engines, tmp_path):
    """Fails when one was replaced without the other: `make weights` makes the graphs again."""
    onnx, torch, bank = engines
    assert onnx.info == torch.info
    photo = np.ascontiguousarray(data.astronaut()[:256, :320])
    expected, found = (engine.encode_image(photo) for engine in (torch, onnx))
    np.testing.assert_allclose(found.image_embedding, expected.image_embedding, atol=1e-3)
    for level, maps in expected.image_features.items():
        np.testing.assert_allclose(found.image_features[level], maps, atol=1e-3)
    prompts = build_prompts(torch, NAMES, bank=bank, cache=PromptCache(tmp_path))
    scores, same = (engine.score(expected, prompts) for engine in (torch, onnx))
    np.testing.assert_allclose(same, scores, atol=1e-3)
    assert np.mean(same.argmax(0) == scores.argmax(0)) >= 0.999


def test_names_mean_the_same(engines):
    """The shipped text tower has 8-bit weights: near to torch's, and tells names apart."""
    onnx, torch, _ = engines
    found, expected = (engine.encode_text(NAMES.names).class_wise for engine in (onnx, torch))
    cosine = found @ expected.T
    assert cosine.diagonal().min() > 0.99
    assert (cosine.argmax(1) == np.arange(len(NAMES))).all()


def test_shipped_files_are_small():
    assert sum(path.stat().st_size for path in model_files("dpseg-lite")) <= 60e6


def test_torch_runs_on_request():
    assert isinstance(Segmenter.from_pretrained()._predictor.engine, OnnxEngine)
    on_torch = Segmenter.from_pretrained("dpseg-lite", engine="torch")
    assert isinstance(on_torch._predictor.engine, TorchEngine)


def test_segmenting_imports_no_torch(tmp_path):
    code = """
import sys
import numpy as np
from dpseg import Segmenter
photo = np.full((40, 60, 3), (200, 30, 30), np.uint8)
result = Segmenter.from_pretrained("dpseg-lite")(photo, ["red wall", "sky"], refine=1)
assert result.labels.shape == (40, 60)
heavy = ("torch", "torchvision", "timm", "transformers", "onnx", "scipy", "skimage", "sympy")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"DPSEG_CACHE": str(tmp_path)},
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
