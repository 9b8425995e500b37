"""Small real ONNX graphs, made for a test."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _save(path: Path, nodes, inputs, outputs, constants, **properties: str) -> Path:
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_detector(path: Path, names=("red", "dog"), side: int = 8) -> Path:
    """A detector of one thing in the left half; its score is how red that half is."""
    reds = np.zeros((1, side, side, 3), np.float32)
    reds[:, :, : side // 2, 0] = 2 / (side * side * 255)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "reds"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "axes"], ["score"], keepdims=0),
        helper.make_node("Reshape", ["score", "one"], ["scores"]),
        helper.make_node("Identity", ["name"], ["names"]),
        helper.make_node("Identity", ["corner"], ["corners"]),
    ]
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, side, side, 3])],
        [
            helper.make_tensor_value_info("names", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("corners", TensorProto.FLOAT, [1, 4]),
        ],
        {
            "reds": reds,
            "axes": np.array([0, 1, 2, 3]),
            "one": np.array([1]),
            "name": np.array([0]),
            "corner": np.array([[0, 0, 0.5, 1]], np.float32),
        },
        names=json.dumps(list(names)),
        origin="a test",
        title="tiny detector",
    )


def write_colour_maps(path: Path, *, channels_last: bool, side: int = 16) -> Path:
    """A segmentation network of four maps: nothing, then how red, green and blue a pixel is."""
    weight = 40 * np.eye(4, 3, k=-1, dtype=np.float32)[:, :, None, None]
    nodes = [helper.make_node("Conv", ["given", "weight"], ["made"])]
    if channels_last:
        nodes.insert(0, helper.make_node("Transpose", ["image"], ["given"], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Transpose", ["made"], ["maps"], perm=[0, 2, 3, 1]))
    else:
        nodes.insert(0, helper.make_node("Identity", ["image"], ["given"]))
        nodes.append(helper.make_node("Identity", ["made"], ["maps"]))
    shape, out = ([1, side, side, 3], [1, side, side, 4])
    if not channels_last:
        shape, out = ([1, 3, side, side], [1, 4, side, side])
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, out)],
        {"weight": weight},
    )


def write_redness(path: Path, side: int = 32) -> Path:
    """A network that tells how much redder than green a pixel is, for pixels of 0 to 1."""
    weight = np.array([1, -1, 0], np.float32).reshape(1, 3, 1, 1)
    return _save(
        path,
        [helper.make_node("Conv", ["image", "weight"], ["sure"])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("sure", TensorProto.FLOAT, [1, 1, side, side])],
        {"weight": weight},
    )
