"""Weights that a graph reads from the model's own file instead of holding a copy of them.

ONNX lets a weight lie in another file, at some offset; a safetensors file is a header with offsets
and then plain arrays. So a model's folder holds each trained weight once, whichever engine runs it,
and any program that reads ONNX can still load the graphs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dpseg.export.precision import LEAST_NUMBERS, Array


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a half-precision weight lies in a file, in bytes, and its shape there."""

    offset: int
    length: int
    shape: tuple[int, ...]


def share_weights(graph: onnx.ModelProto, model_file: Path) -> None:
    """Let a graph read its large weights from a model's file, in place; it computes as before.

    A weight is found there by its values, as it is or transposed. What the file does not hold, such
    as the text tower, stays in the graph. The graph is then to lie beside the file.

    Args:
        graph: with single-precision weights.
        model_file: safetensors in half precision.
    """
    positions = _positions(model_file)
    kept, nodes = [], []
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        found = transposed = None
        if values.dtype == np.float32 and values.size >= LEAST_NUMBERS:
            found = positions.get(_digest(values))
            transposed = positions.get(_digest(values.T))
        position = found or transposed
        if position is None:
            kept.append(weight)
            continue
        stored = f"{weight.name}.half"
        kept.append(_outside(stored, position, model_file.name))
        widened = weight.name if found else f"{weight.name}.wide"
        nodes.append(helper.make_node("Cast", [stored], [widened], to=onnx.TensorProto.FLOAT))
        if not found:
            nodes.append(helper.make_node("Transpose", [widened], [weight.name]))
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    nodes += graph.graph.node
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _outside(name: str, position: _Position, location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=name,
        data_type=onnx.TensorProto.FLOAT16,
        dims=position.shape,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in (
        ("location", location),
        ("offset", position.offset),
        ("length", position.length),
    ):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _positions(model_file: Path) -> dict[str, _Position]:
    """Find a file's half-precision weights by their values."""
    content = model_file.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    positions = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name == "__metadata__" or entry["dtype"] != "F16":
            continue
        first, last = (begin + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[first:last], np.float16).reshape(entry["shape"])
        positions[_digest(values)] = _Position(first, last - first, values.shape)
    return positions


def _digest(values: Array) -> str:
    half = np.ascontiguousarray(values, np.float16)
    return hashlib.sha256(f"{half.shape}".encode() + half.tobytes()).hexdigest()
