"""How the weights of a graph are stored, and in what numbers it computes.

`fp32` leaves a graph as it is. `fp16` and `int8-weights` store the weights small and compute in
single precision: the engine widens them once, while loading. `int8` also computes in 8 bits:
sentences with ranges taken anew for every input, images with ranges measured beforehand.

Processors without 8-bit dot products add the products of neighbouring channels in 16 bits, where
they may overflow. Sentences lose nothing by weights of 7 bits, so they get these. Images do, so
they get 8 with scales that keep each pair of neighbours within 16 bits: the sums are the same
everywhere.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from dpseg.arrays import ImageArray

Precision: TypeAlias = Literal["fp32", "fp16", "int8-weights", "int8"]
Array: TypeAlias = npt.NDArray[Any]

#: Weights below this many numbers stay in single precision: they are biases and scales.
LEAST_NUMBERS = 4096
_MATRIX_PRODUCTS = ("MatMul", "Gemm")
#: Parts of an int8 image tower that keep single precision: the first layers, whose rounding all
#: others inherit, and what follows the trunk. A small share of the time, and most of the error.
_KEPT_SINGLE = (
    "tower.trunk.conv_stem",
    "tower.trunk.blocks.0.",
    "tower.trunk.blocks.1.",
    "tower.projection",
    "tower.adapter",
    "tower/",
)


def store_weights(graph: onnx.ModelProto, precision: Literal["fp16", "int8-weights"]) -> None:
    """Store a graph's large weights in fewer bits, in place; it computes as before.

    Int8 has a scale for each output channel, or for each row of a table. A table is widened after
    rows were looked up, everything else before it is used, so that the engine does it at loading.

    Args:
        graph: with single-precision weights.
        precision: how to store them.
    """
    users = _users(graph)
    kept, widened = [], []
    for weight in graph.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or math.prod(weight.dims) < LEAST_NUMBERS:
            kept.append(weight)
            continue
        values = numpy_helper.to_array(weight)
        if not np.isfinite(values).all():  # a mask of attention
            kept.append(weight)
            continue
        first = users[weight.name][0]
        is_table = first.op_type == "Gather"
        small, nodes = _narrow(weight.name, values, precision, axis=_kept_axis(first, values))
        kept += small
        if is_table:
            _widen_rows(graph, first, nodes)
        else:
            widened += nodes
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    nodes = [*widened, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def quantise_sentences(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Compute the text tower's matrix products in 8 bits, with ranges taken from each input.

    The text map keeps single precision: its kernel's values span orders of magnitude, and 8 bits
    would leave of them little but the nearest names.
    """
    kept = [node.name for node in graph.graph.node if node.name.startswith("text_map")]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        _save_prepared(graph, before)
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )
        return onnx.load(after)


def quantise_pictures(graph: onnx.ModelProto, pictures: Iterable[ImageArray]) -> onnx.ModelProto:
    """Compute most convolutions in 8 bits, with ranges measured on images.

    Args:
        graph: takes one image, H W 3 uint8, at a time.
        pictures: what to measure on; a few dozen of the kind that the model will see.

    Returns:
        A graph with an explicit quantisation around each operation, weights per channel.
    """
    kept = [node.name for node in graph.graph.node if node.name.startswith(_KEPT_SINGLE)]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        _save_prepared(graph, before)
        quantize_static(
            before,
            after,
            _Pictures(graph.graph.input[0].name, pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Clip"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=kept,
            extra_options={"TensorQuantOverrides": _ranges_of_weights(graph)},
        )
        return onnx.load(after)


def _ranges_of_weights(graph: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Choose the range of each channel's weights, for the convolutions that sum over channels.

    A pair of neighbours, as onnxruntime packs them, is added up in 16 bits after each was
    multiplied by an activation of at most 255: together they may be 128. So a channel's range holds
    its largest sum of two neighbours of one sign, and with it its largest weight.
    """
    weights = {one.name: one for one in graph.graph.initializer}
    ranges = {}
    for node in graph.graph.node:
        if node.op_type != "Conv" or weights[node.input[1]].dims[1] == 1:
            continue
        values = numpy_helper.to_array(weights[node.input[1]])  # out in kh kw
        packed = values.transpose(0, 2, 3, 1).reshape(len(values), -1)  # out (kh kw in)
        padded = np.pad(packed, ((0, 0), (0, packed.shape[1] % 2)))
        pairs = padded.reshape(len(values), -1, 2)  # out pair 2
        sums = [side.clip(min=0).sum(axis=2).max(axis=1) for side in (pairs, -pairs)]
        largest = np.maximum(*sums).clip(1e-12)
        ranges[node.input[1]] = [
            {"axis": 0, "rmin": -one, "rmax": one, "symmetric": True, "quant_type": QuantType.QInt8}
            for one in largest.astype(np.float32)
        ]
    return ranges


def _save_prepared(graph: onnx.ModelProto, path: Path) -> None:
    """Write a graph for the quantiser, which need not ask for shapes and folding: it has both."""
    onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(graph, path)


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
    def __init__(self, name: str, pictures: Iterable[ImageArray]) -> None:
        self._feeds: Iterator[dict[str, ImageArray]] = ({name: one} for one in pictures)

    def get_next(self) -> dict[str, ImageArray] | None:
        return next(self._feeds, None)


def _users(graph: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _kept_axis(user: onnx.NodeProto, values: Array) -> int:
    """Find the axis along which each index has a scale of its own."""
    return values.ndim - 1 if user.op_type in _MATRIX_PRODUCTS else 0


def _narrow(
    name: str, values: Array, precision: str, *, axis: int
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Make a weight small: what is stored, and the nodes that widen it to its old name."""
    single = onnx.TensorProto.FLOAT
    if precision == "fp16":
        small = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        return [small], [helper.make_node("Cast", [small.name], [name], to=single)]
    others = tuple(other for other in range(values.ndim) if other != axis)
    scale = np.abs(values).max(axis=others, keepdims=True).clip(1e-12) / 127
    whole = np.round(values / scale).astype(np.int8)
    stored = [
        numpy_helper.from_array(whole, f"{name}.int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
    ]
    nodes = [
        helper.make_node("Cast", [stored[0].name], [f"{name}.wide"], to=single),
        helper.make_node("Mul", [f"{name}.wide", stored[1].name], [name]),
    ]
    return stored, nodes


def _widen_rows(
    graph: onnx.ModelProto, gather: onnx.NodeProto, nodes: list[onnx.NodeProto]
) -> None:
    """Look rows up in the small table, and widen only these."""
    table, indices = gather.input
    result, position = gather.output[0], list(graph.graph.node).index(gather)
    rows = {}
    for name in [nodes[0].input[0], *nodes[-1].input[1:]]:  # the table, and its scales if any
        rows[name] = f"{name}.rows"
        lookup = helper.make_node("Gather", [name, indices], [rows[name]], axis=0)
        graph.graph.node.insert(position, lookup)
        position += 1
    for node in nodes:
        widen = helper.make_node(
            node.op_type,
            [rows.get(name, f"{name}.rows") for name in node.input],
            [result if name == table else f"{name}.rows" for name in node.output],
            **{a.name: helper.get_attribute_value(a) for a in node.attribute},
        )
        graph.graph.node.insert(position, widen)
        position += 1
    graph.graph.node.remove(gather)
