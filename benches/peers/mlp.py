"""A 25 MB ONNX model out of a seed: 64 floats in, three dense layers, 10 floats out.

    python mlp.py OUT.onnx
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = [64, 2048, 2048, 1024, 10]
SEED = 20260815


def build():
    random = np.random.default_rng(SEED)
    nodes, weights, x = [], [], "x"
    for layer, (rows, columns) in enumerate(zip(SIZES, SIZES[1:])):
        scale = np.float32((2 / rows) ** 0.5)
        matrix = random.standard_normal((rows, columns), np.float32) * scale
        weights += [numpy_helper.from_array(matrix, f"w{layer}")]
        weights += [numpy_helper.from_array(np.zeros(columns, np.float32), f"b{layer}")]
        last = layer == len(SIZES) - 2
        nodes.append(helper.make_node("Gemm", [x, f"w{layer}", f"b{layer}"], ["y" if last else f"z{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"a{layer}"]))
            x = f"a{layer}"
    tensor = helper.make_tensor_value_info
    spec, out = tensor("x", TensorProto.FLOAT, ["batch", SIZES[0]]), tensor("y", TensorProto.FLOAT, ["batch", SIZES[-1]])
    graph = helper.make_graph(nodes, "mlp", [spec], [out], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    model = build()
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[1])
