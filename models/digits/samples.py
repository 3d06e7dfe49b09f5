"""The sample pictures in samples/: held-out images made large, and digits drawn with a thick pen.

expected.json says which digit each shows and what input preprocess.py makes of it.
"""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

import preprocess

FOLDER = Path(__file__).resolve().parent / "samples"
SIZE = 280  # pixels each way
EXPECTED = FOLDER / "expected.json"

PAPER, PEN = 250, 25

# Which of the held-out images of a digit: 8 x 8 is little, and these are clear to people too.
CLEAR = {0: 5, 2: 1, 3: 1, 5: 3, 7: 2, 8: 1}


def write(images, labels):
    """Writes every sample and expected.json."""
    FOLDER.mkdir(exist_ok=True)
    pictures = {f"{digit}.png": (digit, from_dataset(images, labels, digit)) for digit in CLEAR}
    pictures["7.jpg"] = (7, pictures["7.png"][1])
    pictures["white-on-black-5.png"] = (5, 255 - pictures["5.png"][1])
    for digit in STROKES:
        pictures[f"drawn-{digit}.png"] = (digit, drawn(digit))
    entries = []
    for name, (digit, pixels) in sorted(pictures.items()):
        # A narrow palette keeps the files small; the strokes need no more.
        Image.fromarray((pixels // 15 * 15).astype(np.uint8)).save(FOLDER / name, quality=85, optimize=True)
        image = preprocess.from_file(FOLDER / name).astype(int).tolist()
        entries.append(f"{json.dumps(name)}: {json.dumps({'digit': digit, 'image': image})}")
    EXPECTED.write_text("{\n" + ",\n".join(entries) + "\n}\n")


def expected():
    """What expected.json records, by file name."""
    return json.loads(EXPECTED.read_text())


def from_dataset(images, labels, digit):
    """A held-out image of `digit`, smooth and large, off the page's centre."""
    image = images[np.flatnonzero(labels == digit)[CLEAR[digit]]]
    large = ndimage.zoom(image / 16, (20, 18), order=3, mode="grid-constant", grid_mode=True)
    page = np.zeros((SIZE, SIZE))
    top, left = 30 + 7 * digit, 110 - 9 * digit
    page[top : top + large.shape[0], left : left + large.shape[1]] = large
    sharp = np.clip((ndimage.gaussian_filter(page, 2) - 0.35) / 0.2, 0, 1)
    return np.rint(PAPER - (PAPER - PEN) * sharp).astype(int)


def arc(x, y, width, height, start, end):
    """Points along an ellipse; angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 25))
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


# Strokes in a box of 1 x 1, pen down to pen up.
STROKES = {
    1: [[(0.42, 0.2), (0.56, 0), (0.5, 1)]],
    3: [arc(0.48, 0.26, 0.28, 0.26, -150, 80) + arc(0.47, 0.75, 0.33, 0.26, -85, 150)],
    4: [[(0.6, 0), (0.14, 0.66), (0.92, 0.62)], [(0.7, 0.34), (0.64, 1)]],
    6: [[*arc(0.78, 0.62, 0.58, 0.62, -105, -175), *arc(0.5, 0.72, 0.3, 0.28, -180, 180)]],
}
THICKNESS = {1: 20, 3: 15, 4: 9, 6: 24}


def drawn(digit):
    """`digit` with a round pen, smoothed, in another corner for each."""
    height, thickness = 150, THICKNESS[digit]
    left, top = 30 + 22 * (digit % 4), 90 - 14 * (digit % 3)
    page = Image.new("L", (2 * SIZE, 2 * SIZE), PAPER)
    pen = ImageDraw.Draw(page)
    for stroke in STROKES[digit]:
        points = [(2 * (left + height * x), 2 * (top + height * y)) for x, y in stroke]
        pen.line(points, fill=PEN, width=2 * thickness, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - thickness, y - thickness, x + thickness, y + thickness), fill=PEN)
    return np.asarray(page.resize((SIZE, SIZE), Image.Resampling.BOX)).astype(int)
