#!/usr/bin/env python3
"""Trains the digit classifier on scikit-learn's bundled digits and writes model.onnx, goldens.json and samples/.

    train.py           train, write the files, check them
    train.py --check   check the committed files only

Either way the exit status is 1 when the committed model's accuracy on the held-out images is below 97 %, or when it
misreads one of the sample pictures. Needs numpy, scikit-learn (with scipy), onnx, onnxruntime and pillow.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import preprocess
import samples

HERE = Path(__file__).resolve().parent
MODEL, GOLDENS = HERE / "model.onnx", HERE / "goldens.json"

ACCURACY_MIN = 0.97
HELD_OUT = 0.25
COPIES = 3  # of each training image as it is
VARIANTS = 12  # and distorted
SCHEDULE = [(25, 1e-3), (8, 3e-4), (8, 1e-4)]  # epochs and learning rate
HIDDEN = (256, 128)
OPSET, IR_VERSION = 17, 8
SEED = 0


def split():
    """The training and the held-out images and labels."""
    digits = load_digits()
    return train_test_split(
        digits.images.astype(np.float32), digits.target, test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )


def distorted(image, label, random):
    """The image as another hand might have written it, through the steps every picture goes through.

    The 8 x 8 counts are enlarged to a smooth picture, turned, slanted and squeezed, and cut at a random level, which
    makes strokes thin or thick. Ones are squeezed most: people write them as a bare stroke.
    """
    pad, size = 32, 96
    large = np.pad(ndimage.zoom(image, size // 8, order=3, mode="grid-constant", grid_mode=True), pad)
    angle, slant = np.radians(random.uniform(-13, 13)), random.uniform(-0.25, 0.25)
    squeeze = 1 / random.uniform(0.25 if label == 1 else 0.5, 1.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    warp = turn @ np.array([[1, 0], [slant, squeeze]])
    centre = np.full(2, pad + size / 2)
    warped = ndimage.affine_transform(large, warp, offset=centre - warp @ centre, order=1)
    return preprocess.from_ink(warped > min(random.uniform(3, 12), warped.max() / 2))


def train(images, labels):
    random = np.random.default_rng(SEED)
    inputs, targets = [], []
    for image, label in zip(images, labels):
        inputs += [image] * COPIES + [distorted(image, label, random) for _ in range(VARIANTS)]
        targets += [label] * (COPIES + VARIANTS)
    inputs = np.array(inputs).reshape(len(inputs), 64) / 16
    network = MLPClassifier(HIDDEN, alpha=1e-2, batch_size=128, random_state=SEED, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
        for epochs, rate in SCHEDULE:
            network.set_params(max_iter=epochs, learning_rate_init=rate).fit(inputs, targets)
    return network


def export(network):
    """Writes the network as ONNX, the division by 16 inside."""
    constant = lambda name, values, kind=np.float32: numpy_helper.from_array(np.asarray(values, kind), name)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Div", ["flat", "intensity_max"], ["layer0"]),
    ]
    weights = [constant("intensity_max", 16)]
    layers = len(network.coefs_)
    for i, (matrix, bias) in enumerate(zip(network.coefs_, network.intercepts_), start=1):
        weights += [constant(f"weight{i}", matrix), constant(f"bias{i}", bias)]
        last = i == layers
        out = "logits" if last else f"sum{i}"
        nodes.append(helper.make_node("Gemm", [f"layer{i - 1}", f"weight{i}", f"bias{i}"], [out]))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"layer{i}"]))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="headland"
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, MODEL)


def session():
    return onnxruntime.InferenceSession(MODEL)


def logits(model, images):
    return model.run(["logits"], {"image": np.asarray(images, np.float32)})[0]


def write_goldens(images, labels):
    """The first held-out image of five digits, with what Python's onnxruntime answers."""
    chosen = [int(np.flatnonzero(labels == digit)[0]) for digit in (0, 3, 4, 7, 9)]
    answers = logits(session(), images[chosen])
    entries = [
        {"digit": int(labels[i]), "image": images[i].astype(int).tolist(), "logits": answer.tolist()}
        for i, answer in zip(chosen, answers)
    ]
    GOLDENS.write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")


def check(images, labels):
    """Whether the committed files hold what README.md says of them."""
    model = session()
    accuracy = float((logits(model, images).argmax(1) == labels).mean())
    print(f"accuracy on {len(labels)} held-out images: {accuracy:.2%} (at least {ACCURACY_MIN:.0%} is asked)")
    good = accuracy >= ACCURACY_MIN
    for golden in json.loads(GOLDENS.read_text()):
        if not np.allclose(logits(model, [golden["image"]])[0], golden["logits"], rtol=0, atol=1e-5):
            print(f"golden of digit {golden['digit']} is not what the model answers")
            good = False
    for name, expected in samples.expected().items():
        image = preprocess.from_file(samples.FOLDER / name)
        digit = int(logits(model, [image])[0].argmax())
        if digit != expected["digit"] or image.astype(int).tolist() != expected["image"]:
            print(f"{name}: read as {digit}, expected {expected['digit']} from the recorded input")
            good = False
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check the committed files, train nothing")
    arguments = parser.parse_args()
    train_images, test_images, train_labels, test_labels = split()
    if not arguments.check:
        export(train(train_images, train_labels))
        write_goldens(test_images, test_labels)
        samples.write(test_images, test_labels)
    return 0 if check(test_images, test_labels) else 1


if __name__ == "__main__":
    sys.exit(main())
