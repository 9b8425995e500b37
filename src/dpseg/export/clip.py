"""From a model on ConvNeXt CLIP towers to the ONNX files that run it without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import onnx

from dpseg.encoders.open_clip import OpenClipEncoder
from dpseg.engines.onnx_files import (
    IMAGE_FILE,
    INFO_KEY,
    PROMPT_FILE,
    SCORE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    clip_name,
    info_to_text,
)
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import CheckpointError, require_extra
from dpseg.export.clip_graphs import clip_image_graph, clip_score_graph, clip_text_graph
from dpseg.export.clip_tokenizer import clip_tokenizer
from dpseg.export.onnx import to_onnx
from dpseg.export.precision import store_weights
from dpseg.factory.clip import ClipModel
from dpseg.files import atomic_write

ClipPrecision: TypeAlias = Literal["fp32", "fp16", "int8-weights"]


def export_clip(
    engine: TorchEngine, folder: Path, *, image: ClipPrecision, text: ClipPrecision
) -> list[Path]:
    """Write a model as ONNX.

    Args:
        engine: of the model, on the processor.
        folder: where to write; it is there.
        image: how the image tower stores its weights.
        text: the same for the text tower. Scoring keeps single precision.

    Returns:
        The files.

    Raises:
        CheckpointError: the model has no ConvNeXt towers.
    """
    model = engine.model
    if not isinstance(model, ClipModel) or not isinstance(model.encoder, OpenClipEncoder):
        raise CheckpointError(f"{engine.info.name} is not exported: it has no ConvNeXt towers")
    encoder = model.encoder
    options = engine.options.replace(class_chunk=None)  # graphs decode all names at once
    graphs = {
        IMAGE_FILE: (clip_image_graph(encoder), image),
        TEXT_FILE: (clip_text_graph(encoder), text),
        SCORE_FILE: (clip_score_graph(model, engine.info, options), "fp32"),
    }
    if encoder.prompt_tower is not None:
        graphs[PROMPT_FILE] = (clip_image_graph(encoder, prompt_tower=True), image)
    files = []
    for name, (graph, precision) in graphs.items():
        proto = to_onnx(graph)
        _drop_unused_inputs(proto)
        if precision != "fp32":
            store_weights(proto, precision)
        onnx.helper.set_model_props(proto, {INFO_KEY: info_to_text(engine.info)})
        files.append(folder / clip_name(name))
        with atomic_write(files[-1]) as temporary:
            onnx.save(proto, temporary)
            onnx.checker.check_model(temporary)
    files.append(folder / clip_name(TOKENIZER_FILE))
    open_clip = require_extra("open_clip", "clip")
    simple = open_clip.SimpleTokenizer(context_length=encoder.clip.context_length)
    with atomic_write(files[-1]) as temporary:
        clip_tokenizer(simple).save(str(temporary))
    return files


def _drop_unused_inputs(proto: onnx.ModelProto) -> None:
    """Ask only for what a network reads: SED and ERR-Seg have no use for some prompts."""
    read = {name for node in proto.graph.node for name in node.input}
    kept = [one for one in proto.graph.input if one.name in read]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
