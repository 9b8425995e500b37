"""Smaller numbers in the same graphs: how much they save, and how little they change."""

import shutil

import numpy as np
import onnx
import pytest

from dpseg.engines.onnx_engine import OnnxEngine
from dpseg.engines.onnx_files import IMAGE_FILE, TEXT_FILE
from dpseg.errors import ImageError
from dpseg.export.model import export_model
from dpseg.export.precision import quantise_pictures, quantise_sentences, store_weights

pytestmark = pytest.mark.slow

WORDS = ["zebra", "horse", "traffic light", "a photo of a sky", "double-decker bus"]


@pytest.fixture
def exported(exported_folder, tmp_path):
    """A copy of the exported model that a test may change: (folder, engine of the original)."""
    shutil.copytree(exported_folder, tmp_path, dirs_exist_ok=True)
    return tmp_path, OnnxEngine(exported_folder, threads=1)


def pictures(count):
    generator = np.random.default_rng(0)
    for _ in range(count):
        blocks = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        yield blocks.repeat(16, axis=0).repeat(16, axis=1)  # 96 128 3


def rewrite(path, change):
    """Change a graph in its file; its new size as a share of the old one."""
    before, graph = path.stat().st_size, onnx.load(path)
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    changed = change(graph) or graph
    onnx.helper.set_model_props(changed, properties)
    onnx.save(changed, path)
    return path.stat().st_size / before


def cosine(found, expected):
    """The lowest cosine of corresponding vectors, which lie along the first axis."""
    products = (found * expected).sum(0)
    return (products / np.linalg.norm(found, axis=0) / np.linalg.norm(expected, axis=0)).min()


@pytest.mark.parametrize(
    ("precision", "share", "least"), [("fp16", 0.52, 0.9999), ("int8-weights", 0.28, 0.98)]
)
def test_stored_small_and_computed_as_before(exported, precision, share, least):
    folder, original = exported
    photo = next(pictures(1))
    for name in (IMAGE_FILE, TEXT_FILE):
        assert rewrite(folder / name, lambda graph: store_weights(graph, precision)) < share
    small = OnnxEngine(folder, threads=1)
    embedding = original.encode_image(photo).image_embedding
    assert cosine(small.encode_image(photo).image_embedding, embedding) > least
    expected, found = (engine.encode_text(WORDS) for engine in (original, small))
    assert cosine(found.class_wise.T, expected.class_wise.T) > least
    mask = expected.token_mask
    assert cosine(found.token_wise[mask].T, expected.token_wise[mask].T) > least


def test_sentences_in_8_bits(exported):
    folder, original = exported

    def quantise(graph):
        quantised = quantise_sentences(graph)
        store_weights(quantised, "int8-weights")
        return quantised

    assert rewrite(folder / TEXT_FILE, quantise) < 0.28
    quantised = onnx.load(folder / TEXT_FILE)
    assert sum(node.op_type == "MatMulInteger" for node in quantised.graph.node) >= 24
    found = OnnxEngine(folder, threads=1).encode_text(WORDS).class_wise
    assert cosine(found.T, original.encode_text(WORDS).class_wise.T) > 0.97


def quantised_over_channels(graph):
    """Yield the 8-bit weights of the convolutions that sum over channels, out in kh kw."""
    constants = {one.name: one for one in graph.initializer}
    stored = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in stored:
            weight = onnx.numpy_helper.to_array(constants[stored[node.input[1]]])
            if weight.shape[1] > 1:
                yield weight.astype(int)


def largest_pair(weight):
    """Find the largest sum of neighbouring channels, of either sign."""
    rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1, 2)
    return max(side.clip(min=0).sum(axis=2).max() for side in (rows, -rows))


def test_pictures_in_8_bits(exported):
    folder, original = exported
    share = rewrite(folder / IMAGE_FILE, lambda graph: quantise_pictures(graph, pictures(4)))
    assert share < 0.5  # what follows the trunk stays as it is
    graph = onnx.load(folder / IMAGE_FILE).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QuantizeLinear") > kinds.count("Conv")
    largest = [largest_pair(weight) for weight in quantised_over_channels(graph)]
    assert len(largest) > 30
    # Sums of two products fit into 16 bits, so that no processor gives other ones.
    assert max(largest) == 128
    photo = next(pictures(1))
    expected = original.encode_image(photo).image_embedding
    found = OnnxEngine(folder, threads=1).encode_image(photo).image_embedding
    assert cosine(found, expected) > 0.95  # random weights; on mIoU, benchmarks/export_parity.py


def test_pictures_in_8_bits_need_pictures(trained_folder, tmp_path):
    with pytest.raises(ImageError, match="pictures"):
        export_model(trained_folder, tmp_path / "out", image="int8")
    with pytest.raises(ImageError, match="holds no photo"):
        export_model(trained_folder, tmp_path / "out", image="int8", pictures=tmp_path)
