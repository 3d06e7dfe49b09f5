"""Small ONNX graphs, written down byte by byte: the tests need no ONNX library for it."""

import struct

FP32, INT64 = 1, 7
OPSET, IR_VERSION = 21, 10


def varint(number):
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(written) + bytes([number])


def field(number, value):
    """A field of a Protocol Buffers message: a number, or text, or bytes, which another message is too."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def named(name, kind, *dims):
    """An input or an output: what is a name among `dims` may be any number."""
    dims = b"".join(field(1, field(1 if isinstance(each, int) else 2, each)) for each in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def tensor(name, kind, values, *dims):
    return b"".join(field(1, each) for each in dims) + field(2, kind) + field(8, name) + field(9, values)


def node(kind, inputs, output):
    return b"".join(field(1, each) for each in inputs) + field(2, output) + field(4, kind)


def gather(rows, columns=2, fails=False):
    """`rows = table[ids]`, for ids below `rows`: the number of a row stands in it, `columns` times. One that `fails` has the
    same inputs and outputs, loads like any other, and fails at every request for fewer than a thousand of them."""
    table = tensor("table", FP32, b"".join(struct.pack("<f", row) * columns for row in range(rows)), rows, columns)
    nodes, weights = node("Gather", ["table", "ids"], "found" if fails else "rows"), [table]
    if fails:
        nodes = field(1, nodes) + field(1, node("Reshape", ["found", "shape"], "rows"))
        weights.append(tensor("shape", INT64, struct.pack("<qq", 1000, columns), 2))
    else:
        nodes = field(1, nodes)
    ends = field(11, named("ids", INT64, "n")) + field(12, named("rows", FP32, "n", columns))
    graph = nodes + field(2, "gather") + b"".join(field(5, each) for each in weights) + ends
    return field(1, IR_VERSION) + field(2, "headland") + field(7, graph) + field(8, field(1, "") + field(2, OPSET))


def write(folder, graph):
    """A model folder of this graph."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph)
    return folder
