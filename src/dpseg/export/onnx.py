"""From a `LiteModel` to the ONNX files that run it without torch.

Whatever the model's sizes are, they are read off the model; the vocabulary, the images' sizes
and the prompts stay free in the graphs. The writing side of `dpseg.engines.onnx_engine`.
"""

from __future__ import annotations

import ast
import io
import shutil
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from dpseg.arrays import ImageArray
from dpseg.encoders.minilm import MiniLM
from dpseg.engines.onnx_files import (
    IMAGE_FILE,
    INFO_KEY,
    SCORE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    WEIGHTS_KEY,
    info_to_text,
)
from dpseg.engines.protocol import ModelInfo
from dpseg.export.graphs import Graph, image_graph, score_graph, text_graph
from dpseg.export.precision import (
    Precision,
    quantise_pictures,
    quantise_sentences,
    store_weights,
)
from dpseg.export.shared import share_weights
from dpseg.factory.lite import LiteModel
from dpseg.files import atomic_write, hash_file
from dpseg.model.dpseg import ForwardOptions

OPSET = 21
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, kw_only=True)
class Precisions:
    """How each graph stores its weights and computes.

    Attributes:
        image: of the image tower.
        text: of the text tower.
    """

    image: Precision = "fp16"
    text: Precision = "int8-weights"


def export_lite(
    model: LiteModel,
    text_tower: MiniLM,
    info: ModelInfo,
    model_file: Path,
    *,
    precisions: Precisions | None = None,
    pictures: Iterable[ImageArray] = (),
    options: ForwardOptions | None = None,
) -> list[Path]:
    """Write a model as ONNX.

    Args:
        model: what to export, in evaluation mode.
        text_tower: its text tower.
        info: what the product must know of the model.
        model_file: what the model was loaded from; the graphs are written beside it.
        precisions: of the graphs.
        pictures: on which an int8 image tower's ranges are measured; sides multiples of the stride.
        options: what takes part in scoring.

    Returns:
        The files.
    """
    precisions = precisions or Precisions()
    network, _ = text_tower.load()
    image = to_onnx(image_graph(model))
    text = to_onnx(text_graph(model.text_map, network))
    score = to_onnx(score_graph(model, options or ForwardOptions()))
    if precisions.image == "int8":
        image = quantise_pictures(image, pictures)
    elif precisions.image == "int8-weights":
        store_weights(image, "int8-weights")
    if precisions.image != "fp32":
        share_weights(image, model_file)
        share_weights(score, model_file)
    if precisions.text == "int8":
        text = quantise_sentences(text)
    if precisions.text != "fp32":
        share_weights(text, model_file)
        # what is looked up rather than multiplied has no 8-bit product to take part in
        store_weights(text, "fp16" if precisions.text == "fp16" else "int8-weights")
    folder = model_file.parent
    graphs = {IMAGE_FILE: image, TEXT_FILE: text, SCORE_FILE: score}
    notes = {INFO_KEY: info_to_text(info), WEIGHTS_KEY: hash_file(model_file)}
    for name, graph in graphs.items():
        onnx.helper.set_model_props(graph, notes)
        with atomic_write(folder / name) as temporary:
            onnx.save(graph, temporary)
            onnx.checker.check_model(temporary)
    with atomic_write(folder / TOKENIZER_FILE) as temporary:
        shutil.copyfile(text_tower.tokenizer_path, temporary)
    return [*(folder / name for name in graphs), folder / TOKENIZER_FILE]


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """Trace a graph and translate it."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no counterpart of the fused layer
    try:
        with redirect_stdout(io.StringIO()), torch.no_grad():
            program = torch.onnx.export(
                graph.module.eval(),
                graph.arguments,
                dynamo=True,
                dynamic_shapes=graph.free,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    _tidy(proto)
    return proto


def _tidy(graph: onnx.ModelProto) -> None:
    """Name each node after the module that it comes from; drop the tracer's notes.

    The notes hold stack traces, which would carry the paths of this machine.
    """
    for node in graph.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))  # outer to inner, then the operation
        if len(scopes) > 2:
            node.name = f"{scopes[-2]}/{node.name}"
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del value.metadata_props[:]
    for weight in graph.graph.initializer:
        del weight.metadata_props[:]
    del graph.graph.metadata_props[:]
