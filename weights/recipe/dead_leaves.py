"""Make synthetic training images: parts of photographs, covered with shapes that have sharp edges.

    python weights/recipe/dead_leaves.py --input photos --output load/compact-copies --count 139

Photographs have few edges as sharp as the pixel grid allows, so a network learns from these images
how to render them. Sizes of shapes follow a power law, like those of objects in pictures: Lee,
Mumford, Huang, "Occlusion Models for Natural Images", IJCV 2001. Such images were used for training
by Achddou, Gousseau, Ladjal, "Synthetic Images as a Regularity Prior for Image Restoration Neural
Networks", SSVM 2021.
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
import random

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from cli.command import outlive_output, run
from datasets.image_file import read_image, write_pixels
from datasets.image_folder import ImageFolder
from errors import UserError

OVERSAMPLING = 3  # images are drawn larger by this factor, then shrunk
SIZES = ((4, 150), (8, 200), (6, 80))  # smallest and largest radius in output pixels
COUNTS = (250, 500, 900)  # shapes in an image
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
STARK = ((0, 0, 0), (10, 10, 10), (245, 245, 245), (255, 255, 255))

Point = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write images of shapes on photographs.")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR", help="photographs")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--count", type=int, default=139, metavar="N", help="default 139")
    parser.add_argument("--side", type=int, default=400, metavar="N", help="default 400")
    args = parser.parse_args()
    outlive_output()
    if min(args.count, args.side) < 1:
        raise UserError("--count and --side: expected numbers above 0")
    if args.output.resolve() == args.input.resolve():
        raise UserError(f"--output {args.output}: is the input; name another folder")
    files = ImageFolder(str(args.input)).files
    for number in tqdm(range(args.count), disable=None):
        rng = random.Random(number)
        photograph = Image.fromarray(read_image(rng.choice(files)))
        image = dead_leaves(photograph, args.side, rng)
        write_pixels(args.output / f"leaves-{number:04d}.png", np.asarray(image))
    print(f"{args.output}: {args.count} images")


def dead_leaves(photograph: Image.Image, side: int, rng: random.Random) -> Image.Image:
    """Draw shapes on a square part of a photograph, in its colours or filled with parts of it."""
    large = side * OVERSAMPLING
    palette = np.asarray(photograph.convert("RGB")).reshape(-1, 3)
    factor = max(OVERSAMPLING, large / min(photograph.size))
    source = photograph.resize([math.ceil(n * factor) for n in photograph.size])
    canvas = part_of(source, large, rng)
    draw = ImageDraw.Draw(canvas)
    smallest, largest = (OVERSAMPLING * radius for radius in rng.choice(SIZES))
    for _ in range(rng.choice(COUNTS)):
        radius = power_law(smallest, largest, rng)
        outline = shape((rng.uniform(0, large), rng.uniform(0, large)), radius, rng)
        if radius > 20 * OVERSAMPLING and rng.random() < 0.15:
            mask = Image.new("L", canvas.size)
            ImageDraw.Draw(mask).polygon(outline, fill=255)
            canvas.paste(part_of(source, large, rng), mask=mask)
        else:
            draw.polygon(outline, fill=colour(palette, rng))
    return canvas.resize((side, side), rng.choice(FILTERS))


def part_of(image: Image.Image, side: int, rng: random.Random) -> Image.Image:
    left, top = (rng.randint(0, n - side) for n in image.size)
    return image.crop((left, top, left + side, top + side))


def power_law(smallest: float, largest: float, rng: random.Random) -> float:
    """Draw a radius r with density r^-3, as in pictures that look the same at all scales."""
    low, high = smallest**-2, largest**-2
    return (low + (high - low) * rng.random()) ** -0.5


def colour(palette: np.ndarray, rng: random.Random) -> tuple[int, ...]:
    """Draw a colour from the photograph's pixels; every fourth time black, white or any."""
    if rng.random() < 0.25:
        return rng.choice([*STARK, tuple(rng.randint(0, 255) for _ in range(3))])
    return tuple(palette[rng.randrange(len(palette))].tolist())


def shape(centre: Point, radius: float, rng: random.Random) -> list[Point]:
    """Draw the outline of an ellipse, a polygon or a curved band."""
    return rng.choice((ellipse, polygon, band))(centre, radius, rng)


def ellipse(centre: Point, radius: float, rng: random.Random) -> list[Point]:
    flatness, turn = rng.uniform(0.4, 1), rng.uniform(0, math.pi)
    outline = []
    for step in range(48):
        angle = 2 * math.pi * step / 48
        x, y = radius * math.cos(angle), radius * flatness * math.sin(angle)
        outline.append(
            (
                centre[0] + x * math.cos(turn) - y * math.sin(turn),
                centre[1] + x * math.sin(turn) + y * math.cos(turn),
            )
        )
    return outline


def polygon(centre: Point, radius: float, rng: random.Random) -> list[Point]:
    corners, turn = rng.randint(3, 7), rng.uniform(0, 2 * math.pi)
    outline = []
    for corner in range(corners):
        angle, length = turn + 2 * math.pi * corner / corners, radius * rng.uniform(0.6, 1.1)
        outline.append((centre[0] + length * math.cos(angle), centre[1] + length * math.sin(angle)))
    return outline


def band(centre: Point, radius: float, rng: random.Random) -> list[Point]:
    """Draw the outline of a stroke of constant width along an arc."""
    length, steps = 2.5 * radius, 30
    width = max(OVERSAMPLING * rng.uniform(0.7, 8), radius * rng.uniform(0.02, 0.12))
    angle, bend = rng.uniform(0, 2 * math.pi), rng.uniform(-1.2, 1.2) / steps
    x, y = (c - length / 2 * f(angle) for c, f in zip(centre, (math.cos, math.sin), strict=True))
    left, right = [], []
    for _ in range(steps):
        across = width / 2 * math.sin(angle), width / 2 * math.cos(angle)
        left.append((x - across[0], y + across[1]))
        right.append((x + across[0], y - across[1]))
        x, y = x + length / steps * math.cos(angle), y + length / steps * math.sin(angle)
        angle += bend
    return left + right[::-1]


if __name__ == "__main__":
    run(main)
