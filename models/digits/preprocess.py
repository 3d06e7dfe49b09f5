"""From the picture of a handwritten digit to the model's input.

The data set was made from 32 x 32 bitmaps in which the digit fills the height and about 20 columns, with strokes of
normalised thickness; each value of its 8 x 8 images counts the set pixels in a 4 x 4 block. These steps make the same of
any picture. All arithmetic is on integers, so that another implementation can agree to the last bit; the `digits`
guest has one in Rust.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

GRID = 32
WIDTH_MAX = 20  # cells a digit is wide at most
INK_CELLS = 310  # cells that are set: the data set's median
CONTRAST_MIN = 32  # luma between the darkest and the lightest pixel
SPECK_SHARE = 20  # parts of the ink smaller than a 20th of the largest are dirt


class NoDigit(ValueError):
    """The picture shows nothing that could be a digit."""


def from_file(path):
    """The 8 x 8 input, values 0 to 16, for an image file."""
    return from_luma(luma(Image.open(path)))


def from_luma(pixels):
    """The 8 x 8 input for a grayscale array of 0 to 255."""
    return from_ink(drop_specks(find_ink(pixels)))


def luma(image):
    """Grayscale, transparency over white."""
    rgba = np.asarray(image.convert("RGBA"), dtype=np.int64)
    alpha = rgba[..., 3:]
    rgb = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return (rgb @ np.array([299, 587, 114]) + 500) // 1000


def find_ink(pixels):
    """A mask of the strokes: the class (dark or light, by Otsu's threshold) that the border is not."""
    if pixels.max() - pixels.min() < CONTRAST_MIN:
        raise NoDigit("the image is blank")
    dark = pixels <= otsu(pixels)
    border = np.concatenate([dark[0], dark[-1], dark[1:-1, 0], dark[1:-1, -1]])
    return ~dark if 2 * border.sum() > border.size else dark


def otsu(pixels):
    """The threshold that separates dark from light best; dark is at or below it."""
    histogram = np.bincount(pixels.ravel(), minlength=256)
    below = np.cumsum(histogram)[:-1].astype(float)
    above = pixels.size - below
    sum_below = np.cumsum(histogram * np.arange(256))[:-1].astype(float)
    sum_above = pixels.sum() - sum_below
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = below * above * (sum_below / below - sum_above / above) ** 2
    return int(np.argmax(np.nan_to_num(spread, nan=-1.0)))


def drop_specks(ink):
    """Keeps the connected parts (diagonals count) that are not tiny beside the largest."""
    parts, count = ndimage.label(ink, structure=np.ones((3, 3)))
    if count == 0:
        raise NoDigit("the image has no strokes")
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes * SPECK_SHARE >= sizes.max())[parts] & ink


def from_ink(ink):
    """The 8 x 8 input for a mask of strokes: box, scale, normalise the thickness, count."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = box.shape
    if height * width < 9:
        raise NoDigit("the strokes are too small")
    cells = scale(box, min(max((2 * GRID * width + height) // (2 * height), 1), WIDTH_MAX))
    return normalise(cells).reshape(8, 4, 8, 4).sum((1, 3)).astype(np.float32)


def scale(box, width):
    """`box` on a grid of `width` centred columns by 32: each cell's covered share, 0 to 255."""
    covered = overlaps(GRID, box.shape[0]) @ box.astype(np.int64) @ overlaps(width, box.shape[1]).T
    grid = np.zeros((GRID, GRID), np.int64)
    left = (GRID - width) // 2
    grid[:, left : left + width] = (255 * covered + box.size // 2) // box.size
    return grid


def overlaps(cells, pixels):
    """How much of each of `pixels` lies in each of `cells` along one axis, in units of 1/`cells` pixel."""
    cell, pixel = np.arange(cells)[:, None] * pixels, np.arange(pixels)[None] * cells
    return np.maximum(np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel), 0)


def normalise(cells):
    """Makes strokes as thick as the data set's: blurs, and sets the 310 cells that are darkest then."""
    blurred = neighbourhood_sums(neighbourhood_sums(cells))
    threshold = np.sort(blurred.ravel())[-INK_CELLS]
    return blurred >= max(threshold, 1)


def neighbourhood_sums(cells):
    padded = np.pad(cells, 1)
    return sum(padded[y : y + GRID, x : x + GRID] for y in range(3) for x in range(3))
