"""Make synthetic training images that are finer than photographs: dithers, screens, text, codes.

    python weights/recipe/fine_patterns.py --input photos --output load/fine --count 120

A network that has only seen photographs mistakes a checker of single pixels for something else, and
may turn it black. Each image here has four patterns. Their cells are 1 to 4.3 pixels wide: when an
image is shrunk by that factor, they become single pixels of the input.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
import math
import string
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from cli.command import outlive_output, run
from datasets.image_file import read_image, write_pixels
from datasets.image_folder import ImageFolder
from errors import UserError

OVERSAMPLING = 4  # for cells that are not a whole number of pixels wide
LARGEST_CELL = 4.3
LETTERS = string.ascii_letters + string.digits + ".,:;-()%&$  "

Rng = np.random.Generator


def main() -> None:
    parser = argparse.ArgumentParser(description="Write images of fine patterns.")
    parser.add_argument(
        "--input", required=True, type=Path, metavar="DIR", help="photographs that are dithered"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--count", type=int, default=120, metavar="N", help="default 120")
    parser.add_argument("--side", type=int, default=360, metavar="N", help="default 360")
    args = parser.parse_args()
    outlive_output()
    if args.count < 1 or args.side < 40:
        raise UserError("--count: expected 1 or more; --side: 40 or more")
    if args.output.resolve() == args.input.resolve():
        raise UserError(f"--output {args.output}: is the input; name another folder")
    files = ImageFolder(str(args.input)).files
    for number in tqdm(range(args.count), disable=None):
        rng = np.random.default_rng(number)
        photograph = Image.fromarray(read_image(files[int(rng.integers(len(files)))]))
        picture = four_patterns(photograph, args.side, rng)
        write_pixels(args.output / f"fine-{number:04d}.png", picture)
    print(f"{args.output}: {args.count} images")


def four_patterns(photograph: Image.Image, side: int, rng: Rng) -> np.ndarray:
    """Draw four patterns in a picture, uint8 (side, side, 3), cut into four unequal parts."""
    picture = np.empty((side, side, 3), np.uint8)
    row, col = (int(rng.integers(side // 3, side - side // 3)) for _ in range(2))
    for rows in (slice(0, row), slice(row, side)):
        for cols in (slice(0, col), slice(col, side)):
            height, width = rows.stop - rows.start, cols.stop - cols.start
            part = pattern(photograph, max(height, width), rng)
            picture[rows, cols] = part[:height, :width]
    return picture


def pattern(photograph: Image.Image, side: int, rng: Rng) -> np.ndarray:
    """Draw one of `KINDS`, uint8 (side, side, 3), with cells 1 to `LARGEST_CELL` pixels wide."""
    whole = rng.random() < 0.6
    cell = int(rng.integers(1, 5)) if whole else rng.uniform(1, LARGEST_CELL)
    count = math.ceil(side / cell) + 1
    draw = KINDS[rng.integers(len(KINDS))]
    cells = draw(count, rng) if draw not in OF_PHOTOGRAPHS else draw(part(photograph, count, rng))
    if cells.ndim == 2:
        dark, light = two_colours(rng)
        cells = dark + cells[..., None] * (light - dark)
    return magnified(np.rint(cells).astype(np.uint8), cell)[:side, :side]


def magnified(cells: np.ndarray, cell: float) -> np.ndarray:
    """Enlarge cells to squares of ``cell`` pixels, with soft borders if that is not whole."""
    if cell == int(cell):
        return cells.repeat(int(cell), 0).repeat(int(cell), 1)
    side = math.floor(len(cells) * cell)
    image = Image.fromarray(cells)
    large = image.resize([side * OVERSAMPLING] * 2, Image.Resampling.NEAREST)
    return np.asarray(large.resize((side, side), Image.Resampling.BOX))


def two_colours(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw black and white or the reverse, two grays, or two colours, as floats."""
    kind = rng.integers(4)
    if kind == 0:
        dark, light = np.zeros(3), np.full(3, 255.0)
    elif kind == 1:
        dark, light = np.full(3, 255.0), np.zeros(3)
    elif kind == 2:
        dark, light = (np.full(3, level) for level in rng.uniform(0, 255, 2))
    else:
        dark, light = rng.uniform(0, 255, (2, 3))
    return dark, light


def part(photograph: Image.Image, count: int, rng: Rng) -> tuple[np.ndarray, Rng]:
    """Shrink a photograph, and cut a square of ``count`` pixels a side out of it."""
    factor = max(rng.uniform(0.25, 0.6), (count + 1) / min(photograph.size))
    small = photograph.resize([round(n * factor) for n in photograph.size])
    left, top = (int(rng.integers(n - count + 1)) for n in small.size)
    return np.asarray(small.crop((left, top, left + count, top + count))), rng


def stripes(count: int, rng: Rng) -> np.ndarray:
    """Draw lines of one cell, every second to fifth row or column, or a grid or dots of them."""
    periods = rng.integers(2, 6, 2)
    y, x = np.mgrid[:count, :count]
    rows, cols = y % periods[0] == 0, x % periods[1] == 0
    return (rows, cols, rows & cols, rows | cols)[rng.integers(4)].astype(float)


def checker(count: int, rng: Rng) -> np.ndarray:
    y, x = np.mgrid[:count, :count]
    if rng.random() < 0.3:  # in colour, with another pattern in each channel
        return 255.0 * np.stack([(x + y) % 2, y % 2, x % 2], axis=-1)[..., rng.permutation(3)]
    return ((x + y) % 2).astype(float)


def screen(count: int, rng: Rng) -> np.ndarray:
    """Draw halftone dots that grow from one side to the other."""
    period, angle = rng.uniform(3, 9), rng.uniform(0, math.pi / 2)
    y, x = np.mgrid[:count, :count] * 2 * math.pi / period
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (np.cos(u) + np.cos(v) > 4 * ramp(count, rng) - 2).astype(float)


def ramp(count: int, rng: Rng) -> np.ndarray:
    """Draw a ramp of levels in [0, 1] along rows or columns; often it is a single level."""
    start, stop = rng.uniform(0, 1, 2) if rng.random() < 0.7 else [rng.uniform(0.1, 0.9)] * 2
    slope = np.broadcast_to(np.linspace(start, stop, count), (count, count))
    return slope.T if rng.random() < 0.5 else slope


def thresholds(order: int, count: int) -> np.ndarray:
    """Make the thresholds of Bayer's ordered dithering, in [0, 1], repeated over the picture."""
    matrix = np.zeros((1, 1))
    while len(matrix) < order:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    repeats = -(-count // order)
    return np.tile((matrix + 0.5) / order**2, (repeats, repeats))[:count, :count]


def ordered(count: int, rng: Rng) -> np.ndarray:
    return (thresholds(2 ** int(rng.integers(1, 4)), count) < ramp(count, rng)).astype(float)


def diffused(count: int, rng: Rng) -> np.ndarray:
    """Reduce a ramp to one bit by Floyd and Steinberg's error diffusion."""
    levels = Image.fromarray(np.uint8(255 * ramp(count, rng)))
    return np.asarray(levels.convert("1")).astype(float)


def dithered_photograph(given: tuple[np.ndarray, Rng]) -> np.ndarray:
    """Reduce a photograph to one bit or few colours, by thresholds or error diffusion."""
    pixels, rng = given
    image = Image.fromarray(pixels)
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(image.convert("1")).astype(float)
    if kind == 1:
        limits = thresholds(2 ** int(rng.integers(1, 4)), len(pixels))
        return (limits < np.asarray(image.convert("L")) / 255).astype(float)
    if kind == 2:
        return np.asarray(image.convert("P").convert("RGB")).astype(float)  # the web's colours
    few = image.quantize(int(rng.integers(3, 17)), dither=Image.Dither.FLOYDSTEINBERG)
    return np.asarray(few.convert("RGB")).astype(float)


def text(count: int, rng: Rng) -> np.ndarray:
    """Draw letters of one bit or with soft edges, 6 to 20 cells high."""
    page = Image.new("1" if rng.random() < 0.6 else "L", (count, count), 0)
    draw, line = ImageDraw.Draw(page), 0
    full = 1 if page.mode == "1" else 255
    while line < count:
        size = int(rng.integers(6, 20))
        words = "".join(rng.choice(list(LETTERS), count // 3 + 1))
        draw.text((int(rng.integers(4)), line), words, full, ImageFont.load_default(size))
        line += round(size * rng.uniform(1, 1.5))
    return np.asarray(page).astype(float) / full


def code(count: int, rng: Rng) -> np.ndarray:
    """Draw random black and white cells, with the square eyes of a QR code."""
    modules = (rng.random((count, count)) < rng.uniform(0.1, 0.9)).astype(float)
    eye = np.ones((7, 7))
    eye[1:-1, 1:-1], eye[2:-2, 2:-2] = 0, 1
    for _ in range(count // 15):
        row, col = rng.integers(0, max(1, count - 7), 2)
        seen = modules[row : row + 7, col : col + 7]
        seen[...] = eye[: seen.shape[0], : seen.shape[1]]
    return modules


def lines(count: int, rng: Rng) -> np.ndarray:
    """Draw straight lines, ellipses and rectangles, one cell wide, without soft edges."""
    page = Image.new("1", (count, count), 0)
    draw = ImageDraw.Draw(page)
    for _ in range(count // 4):
        box = np.sort(rng.integers(0, count, (2, 2)), axis=0).flatten().tolist()
        kind = rng.integers(3)
        if kind == 0:
            draw.line(rng.integers(0, count, 4).tolist(), fill=1)
        elif kind == 1:
            draw.rectangle(box, outline=1, fill=int(rng.integers(2)) or None)
        else:
            draw.ellipse(box, outline=1)
    return np.asarray(page).astype(float)


def pixels_of_few_colours(count: int, rng: Rng) -> np.ndarray:
    """Draw pixel art: single cells or blocks of cells, in two to eight colours."""
    palette = rng.uniform(0, 255, (int(rng.integers(2, 9)), 3))
    coarse = int(rng.integers(1, 4))
    some = rng.integers(len(palette), size=(count // coarse + 1,) * 2)
    return palette[some.repeat(coarse, 0).repeat(coarse, 1)[:count, :count]]


def noise(count: int, rng: Rng) -> np.ndarray:
    """Draw cells of random gray levels or random colours."""
    return (
        rng.uniform(0, 255, (count, count, 3)) if rng.random() < 0.5 else rng.random((count,) * 2)
    )


OF_PHOTOGRAPHS: tuple[Callable[..., np.ndarray], ...] = (dithered_photograph,)
KINDS: tuple[Callable[..., np.ndarray], ...] = (
    *(stripes, checker, screen, ordered, diffused, dithered_photograph, dithered_photograph),
    *(text, text, code, lines, pixels_of_few_colours, noise),
)


if __name__ == "__main__":
    run(main)
