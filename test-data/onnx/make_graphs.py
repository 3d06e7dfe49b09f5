#!/usr/bin/env python3
"""Makes the small ONNX graphs of this folder, and goldens.json: what Python's onnxruntime answers on them.

Needs numpy, onnx and onnxruntime. The graphs are committed; run this again after changing it, in this folder or not.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = Path(__file__).resolve().parent
OPSET, IR_VERSION = 21, 10

# Open Inference Protocol names; the identity graphs are called by them.
DTYPES = {
    "BOOL": T.BOOL, "UINT8": T.UINT8, "UINT16": T.UINT16, "UINT32": T.UINT32, "UINT64": T.UINT64, "INT8": T.INT8,
    "INT16": T.INT16, "INT32": T.INT32, "INT64": T.INT64, "FP16": T.FLOAT16, "BF16": T.BFLOAT16, "FP32": T.FLOAT,
    "FP64": T.DOUBLE, "BYTES": T.STRING,
}  # fmt: skip


def tensor(name, dtype, *dims):
    return helper.make_tensor_value_info(name, DTYPES[dtype], dims)


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def save(name, nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(weights))
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="headland")
    onnx.save(model, HERE / f"{name}.onnx")


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def external(name, location, weights):
    """A weight whose bytes are the whole of another file."""
    raw = T(name=name, data_type=T.FLOAT, dims=weights.shape, data_location=T.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(weights.nbytes)}.items():
        raw.external_data.add(key=key, value=value)
    return raw


def graphs():
    for name in DTYPES:
        save(f"identity_{name}", [node("Identity", "x", "y")], [tensor("x", name, "n")], [tensor("y", name, "n")])

    rows = ["batch", 3]
    two = [tensor("a", "FP32", *rows), tensor("b", "FP32", *rows)]
    save("add", [node("Add", "a b", "sum")], two, [tensor("sum", "FP32", *rows)])

    save(
        "several",
        [node("Add", "left right", "sum"), node("Mul", "left right", "product"), node("Add", "count count", "doubled")],
        [tensor("left", "FP32", "n"), tensor("right", "FP32", "n"), tensor("count", "INT64", "m")],
        [tensor("sum", "FP32", "n"), tensor("product", "FP32", "n"), tensor("doubled", "INT64", "m")],
    )
    save("scalar", [node("Mul", "x x", "square")], [tensor("x", "FP64")], [tensor("square", "FP64")])
    # An output that is an input, by the same name: no node, no memory of its own.
    save("passthrough", [node("Neg", "x", "y")], [tensor("x", "FP32", "n")], [tensor("x", "FP32", "n"), tensor("y", "FP32", "n")])
    save(
        "classify",
        [
            node("Conv", "image kernel", "features", pads=[1, 1, 1, 1]),
            node("Relu", "features", "active"),
            node("Flatten", "active", "flat"),
            node("Gemm", "flat weight bias", "logits"),
            node("Softmax", "logits", "probabilities"),
        ],
        [tensor("image", "FP32", "batch", 1, 4, 4)],
        [tensor("probabilities", "FP32", "batch", 3)],
        [
            constant("kernel", RANDOM.normal(size=(2, 1, 3, 3))),
            constant("weight", RANDOM.normal(size=(32, 3))),
            constant("bias", RANDOM.normal(size=3)),
        ],
    )

    weight = RANDOM.normal(size=(3, 2)).astype(np.float32)
    (HERE / "external.bin").write_bytes(weight.tobytes())
    for name, location in [
        ("external", "external.bin"),
        ("external_missing", "nowhere.bin"),
        ("external_outside", "../../LICENSE"),
    ]:
        save(
            name,
            [node("MatMul", "x w", "y")],
            [tensor("x", "FP32", "batch", 3)],
            [tensor("y", "FP32", "batch", 2)],
            [external("w", location, weight)],
        )

    # Weights in a file that only a branch names. It lies in the working directory of the tests and not among the model's.
    gather, rows = node("Gather", "w i", "rows"), tensor("rows", "FP32", "n", 2)
    branch = helper.make_graph([gather], "branch", [], [rows], initializer=[external("w", "Cargo.toml", weight)])
    save(
        "external_in_branch",
        [node("If", "c", "y", then_branch=branch, else_branch=branch)],
        [tensor("i", "INT64", "n"), tensor("c", "BOOL")],
        [tensor("y", "FP32", "n", 2)],
    )

    # What only a run can tell: a shape that does not fit, an index out of the table.
    save(
        "reshape",
        [node("Reshape", "x shape", "y")],
        [tensor("x", "FP32", "n"), tensor("shape", "INT64", "rank")],
        [tensor("y", "FP32", "rows", "columns")],
    )
    save(
        "gather",
        [node("Gather", "table ids", "rows")],
        [tensor("ids", "INT64", "n")],
        [tensor("rows", "FP32", "n", 2)],
        [constant("table", [[0, 1], [2, 3], [4, 5], [6, 7]])],
    )

    # What a tensor protocol cannot carry.
    sequence = helper.make_tensor_sequence_value_info("parts", T.FLOAT, None)
    save("sequence", [node("SplitToSequence", "x", "parts")], [tensor("x", "FP32", "n")], [sequence])
    float8 = helper.make_tensor_value_info("x", T.FLOAT8E4M3FN, ["n"])
    save("float8", [node("Cast", "x", "y", to=T.FLOAT)], [float8], [tensor("y", "FP32", "n")])

    whole = (HERE / "add.onnx").read_bytes()
    (HERE / "corrupt.onnx").write_bytes(whole[: len(whole) // 2])


NUMPY = {
    "FP32": np.float32, "FP64": np.float64, "FP16": np.float16, "INT64": np.int64, "INT8": np.int8, "BOOL": np.bool_,
    "BYTES": np.object_,
}  # fmt: skip
NAMES = {np.dtype(kind): name for name, kind in NUMPY.items()}


def case(graph, **inputs):
    """Runs one graph and notes what went in and came out."""

    def noted(name, array):
        return {"name": name, "dtype": NAMES[array.dtype], "shape": list(array.shape), "data": array.ravel().tolist()}

    session = onnxruntime.InferenceSession(HERE / f"{graph}.onnx")
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, inputs)
    return {
        "graph": graph,
        "inputs": [noted(name, array) for name, array in inputs.items()],
        "outputs": [noted(name, np.asarray(array)) for name, array in zip(names, outputs)],
    }


def goldens():
    normal = lambda *shape: RANDOM.normal(size=shape).astype(np.float32)
    return [
        case("add", a=normal(4, 3), b=normal(4, 3)),
        case("several", left=normal(5), right=normal(5), count=np.array([1, -2, 2**40])),
        case("scalar", x=np.array(1.5)),
        case("classify", image=normal(3, 1, 4, 4)),
        case("external", x=normal(2, 3)),
        case("reshape", x=normal(6), shape=np.array([2, 3])),
        case("gather", ids=np.array([3, 0, 3])),
        case("passthrough", x=normal(3)),
        case("identity_BOOL", x=np.array([True, False])),
        case("identity_FP16", x=np.array([0.5, -2.25], np.float16)),
        case("identity_BYTES", x=np.array(["", "grüße", "two words"], np.object_)),
    ]


RANDOM = np.random.default_rng(7)

if __name__ == "__main__":
    graphs()
    # One case a line, so that a change shows as such.
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in goldens())
    (HERE / "goldens.json").write_text(f"[\n{lines}\n]\n")
