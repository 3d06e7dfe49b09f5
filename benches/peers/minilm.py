"""all-MiniLM-L6-v2 as an ONNX file, the way the usual exporters write it: plain operators, which ONNX Runtime fuses itself.

    python minilm.py MODEL_FOLDER OUT.onnx

Out comes the sentence embedding: masked mean, then length 1.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and weights, each named as it is added."""

    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def add(self, kind, *inputs, **attributes):
        self.count += 1
        name = attributes.pop("name", f"{kind}_{self.count}")
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, value):
        self.count += 1
        self.weights.append(numpy_helper.from_array(np.asarray(value), f"weight_{self.count}"))
        return self.weights[-1].name


def safetensors(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            yield name, np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])


def build(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = dict(safetensors(folder / "model.safetensors"))
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    size = hidden // heads
    graph = Graph()
    add, weight = graph.add, graph.weight

    def linear(x, prefix):
        product = add("MatMul", x, weight(np.ascontiguousarray(tensors[f"{prefix}.weight"].T)))
        return add("Add", product, weight(tensors[f"{prefix}.bias"]))

    def norm(x, prefix):
        scale, bias = weight(tensors[f"{prefix}.weight"]), weight(tensors[f"{prefix}.bias"])
        return add("LayerNormalization", x, scale, bias, axis=-1, epsilon=config["layer_norm_eps"])

    def split(x, order):
        return add("Transpose", add("Reshape", x, weight(np.array([0, 0, heads, size]))), perm=order)

    def gelu(x):
        half = add("Mul", x, weight(np.float32(0.5)))
        erf = add("Erf", add("Div", x, weight(np.float32(2**0.5))))
        return add("Mul", half, add("Add", erf, weight(np.float32(1))))

    length = add("Slice", add("Shape", "input_ids"), weight(np.array([1])), weight(np.array([2])))
    positions = add("Slice", weight(tensors["embeddings.position_embeddings.weight"]), weight(np.array([0])), length)
    words = add("Gather", weight(tensors["embeddings.word_embeddings.weight"]), "input_ids")
    types = add("Gather", weight(tensors["embeddings.token_type_embeddings.weight"]), "token_type_ids")
    x = norm(add("Add", add("Add", words, types), positions), "embeddings.LayerNorm")
    mask = add("Cast", "attention_mask", to=TensorProto.FLOAT)
    hidden_out = add("Sub", weight(np.float32(1)), add("Unsqueeze", mask, weight(np.array([1, 2]))))
    bias = add("Mul", hidden_out, weight(np.float32(np.finfo(np.float32).min)))
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        query = split(linear(x, f"{at}.attention.self.query"), [0, 2, 1, 3])
        key = split(linear(x, f"{at}.attention.self.key"), [0, 2, 3, 1])
        value = split(linear(x, f"{at}.attention.self.value"), [0, 2, 1, 3])
        scores = add("Div", add("MatMul", query, key), weight(np.float32(size**0.5)))
        context = add("MatMul", add("Softmax", add("Add", scores, bias), axis=-1), value)
        merged = add("Reshape", add("Transpose", context, perm=[0, 2, 1, 3]), weight(np.array([0, 0, hidden])))
        x = norm(add("Add", linear(merged, f"{at}.attention.output.dense"), x), f"{at}.attention.output.LayerNorm")
        inner = linear(gelu(linear(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = norm(add("Add", inner, x), f"{at}.output.LayerNorm")
    kept = add("Mul", x, add("Unsqueeze", mask, weight(np.array([2]))))
    mean = add("Div", add("ReduceSum", kept, weight(np.array([1])), keepdims=0), add("ReduceSum", mask, weight(np.array([1]))))
    add("LpNormalization", mean, axis=-1, p=2, name="sentence_embedding")
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    spec = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in inputs]
    out = [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", hidden])]
    made = helper.make_graph(graph.nodes, "minilm", spec, out, graph.weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    model = build(source)
    onnx.checker.check_model(model)
    onnx.save(model, target)
