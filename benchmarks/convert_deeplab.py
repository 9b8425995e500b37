"""Convert DeepLab v3 (MobileNetV2, ADE20K, .tflite) into a teacher of `dpseg data label`, as ONNX.

    pip install tflite
    python benchmarks/convert_deeplab.py deeplab.tflite TEACHERS/ade.onnx

The file is TensorFlow Hub's sayakpaul/lite-model/deeplabv3-mobilenetv2-ade20k/1/default/1. Its
8-bit weights become floating point, convolutions of an interleaved batch become dilated ones, and
the last enlargement is left out: a position of the answer is 4 pixels of the input wide.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from convert_detector import OPSET, Array, Graph, sliding
from onnx import TensorProto, helper

KNOWN = tflite.BuiltinOperator
CONVOLUTIONS = (KNOWN.CONV_2D, KNOWN.DEPTHWISE_CONV_2D)


class FloatGraph(Graph):
    """A graph in floating point; `same` holds tensors that stand for another one."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.same: dict[int, int] = {}
        self.dilations: dict[int, int] = {}

    def numbers(self, index: int) -> Array:
        """Read a constant TFLite tensor as numbers."""
        tensor = self.source.Tensors(self.same.get(index, index))
        if tensor.Type() == tflite.TensorType.INT8:
            integers, scales = self.stored(self.same.get(index, index))
            return integers.astype(np.float32) * scales.astype(np.float32)
        kind = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.INT32: np.int32}
        raw = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        return raw.view(kind[tensor.Type()]).reshape(self.shape(index))

    def finish(self, name: str, output: int, activation: int) -> None:
        """Pass `name` on as a TFLite tensor, through the activation that was fused to it."""
        if activation == tflite.ActivationFunctionType.RELU:
            self.node("Relu", [name], str(output))
        else:
            self.activated(name, str(output), activation)


def convolution(graph: FloatGraph, operator: Any, depthwise: bool) -> None:
    """Convert a convolution, dilated where its batch was interleaved."""
    source, weight, bias = (int(i) for i in operator.InputsAsNumpy())
    (output,) = operator.OutputsAsNumpy()
    kind = tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions
    options = graph.options(operator, kind)
    # O H W I to O I H W, and 1 H W C to C 1 H W
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    kernel = graph.numbers(weight).transpose(order)
    attributes = sliding(graph, source, kernel.shape[2:], options)
    if dilation := graph.dilations.get(source):
        attributes |= {"pads": [dilation] * 4, "dilations": [dilation] * 2}
    inputs = [
        str(graph.same.get(source, source)),
        graph.constant(f"w{output}", kernel),
        graph.constant(f"b{output}", graph.numbers(bias)),
    ]
    graph.node("Conv", inputs, f"c{output}", group=len(kernel) if depthwise else 1, **attributes)
    graph.finish(f"c{output}", output, options.FusedActivationFunction())


def convert(graph: FloatGraph, operator: Any, kind: int) -> None:
    """Convert one operator; pictures are 1 H W C there and 1 C H W here."""
    inputs = [int(i) for i in operator.InputsAsNumpy()]
    output = int(operator.OutputsAsNumpy()[0])
    if kind in CONVOLUTIONS:
        convolution(graph, operator, kind == KNOWN.DEPTHWISE_CONV_2D)
    elif kind == KNOWN.DEQUANTIZE:
        graph.same[output] = inputs[0]
    elif kind == KNOWN.SPACE_TO_BATCH_ND:
        graph.same[output] = inputs[0]
        graph.dilations[output] = int(graph.numbers(inputs[1])[0])
    elif kind == KNOWN.BATCH_TO_SPACE_ND:
        graph.node("Identity", [str(inputs[0])], str(output))
    elif kind in (KNOWN.ADD, KNOWN.MUL):
        add = kind == KNOWN.ADD
        options = graph.options(operator, tflite.AddOptions if add else tflite.MulOptions)
        names = [str(inputs[0]), str(inputs[1])]
        if len(graph.shape(inputs[1])) == 1:  # a constant of each channel
            names[1] = graph.constant(f"k{output}", graph.numbers(inputs[1]).reshape(1, -1, 1, 1))
        graph.node("Add" if add else "Mul", names, f"a{output}")
        graph.finish(f"a{output}", output, options.FusedActivationFunction())
    elif kind == KNOWN.AVERAGE_POOL_2D:
        graph.node("GlobalAveragePool", [str(inputs[0])], str(output))
    elif kind == KNOWN.CONCATENATION:
        graph.node("Concat", [str(i) for i in inputs], str(output), axis=1)
    elif kind == KNOWN.RESIZE_BILINEAR:
        _, height, width, channels = graph.shape(output)
        graph.node(
            "Resize",
            [
                str(inputs[0]),
                "",
                "",
                graph.constant(f"r{output}", np.array([1, channels, height, width])),
            ],
            str(output),
            mode="linear",
            coordinate_transformation_mode="align_corners",
        )
    else:
        raise ValueError(f"operator {kind} is not known")


def make(source: Path) -> onnx.ModelProto:
    """Convert a file."""
    model = tflite.Model.GetRootAsModel(source.read_bytes(), 0)
    graph = FloatGraph(model)
    subgraph = graph.source
    (picture,) = (int(i) for i in subgraph.InputsAsNumpy())
    side = graph.shape(picture)[1]
    graph.constant("zero", np.float32(0))
    graph.constant("six", np.float32(6))
    graph.node("Identity", ["image"], str(picture))
    operators = [subgraph.Operators(i) for i in range(subgraph.OperatorsLength())]
    for operator in operators[:-1]:
        code = model.OperatorCodes(operator.OpcodeIndex())
        convert(graph, operator, max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
    last = int(operators[-1].InputsAsNumpy()[0])
    _, rows, columns, maps = graph.shape(last)
    graph.node("Identity", [str(last)], "logits")
    made = helper.make_graph(
        graph.nodes,
        "deeplab",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, maps, rows, columns])],
        graph.constants,
    )
    result = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
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
