"""Pictures that are finer than photographs: dithers, halftones, one-bit text, codes, pixel art."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

SIDE = 48
Y, X = np.mgrid[:SIDE, :SIDE]
RAMP = np.broadcast_to(np.linspace(0, 255, SIDE), (SIDE, SIDE))


def bayer(order: int) -> np.ndarray:
    """Thresholds of ordered dithering, repeated over the picture."""
    matrix = np.zeros((1, 1))
    while len(matrix) < order:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    repeats = -(-SIDE // order)
    return np.tile((matrix + 0.5) / order**2 * 255, (repeats, repeats))[:SIDE, :SIDE]


def photograph(side: int = SIDE) -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.BOX)


def diffused(levels: np.ndarray) -> np.ndarray:
    """One bit by Floyd and Steinberg's error diffusion."""
    return np.asarray(Image.fromarray(levels.astype(np.uint8)).convert("1"))


def text() -> np.ndarray:
    page = Image.new("1", (SIDE, SIDE), 1)
    draw = ImageDraw.Draw(page)
    for line in range(0, SIDE, 10):
        draw.text((1, line), "Fax 0123 fox", fill=0, font=ImageFont.load_default(9))
    return np.asarray(page)


def random(count: int, channels: int = 1, size: int = SIDE) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, count, (size, size, channels)).squeeze() / (count - 1)


def enlarged(pixels: np.ndarray, by: int) -> np.ndarray:
    return pixels.repeat(by, 0).repeat(by, 1)


def screen(period: float) -> np.ndarray:
    return np.cos(2 * np.pi * (X + Y) / period) + np.cos(2 * np.pi * (X - Y) / period)


GRAPHICS: dict[str, Callable[[], np.ndarray]] = {
    "checker": lambda: (X + Y) % 2,
    "checker of two": lambda: (X // 2 + Y // 2) % 2,
    "checker of three": lambda: (X // 3 + Y // 3) % 2,
    "rows": lambda: Y % 2,
    "columns": lambda: X % 2,
    "thin rows": lambda: Y % 4 == 0,
    "thin columns": lambda: X % 4 == 0,
    "dots": lambda: (X % 2 == 0) & (Y % 2 == 0),
    "black dots": lambda: (X % 5 > 0) | (Y % 5 > 0),
    "faint checker": lambda: 0.4 + 0.2 * ((X + Y) % 2),
    "checkers of colours": lambda: np.stack([(X + Y) % 2, Y % 2, X % 2], axis=-1),
    "bayer 2": lambda: bayer(2) < RAMP,
    "bayer 8": lambda: bayer(8) < RAMP,
    "bayer 4, level": lambda: bayer(4) < 100,
    "floyd-steinberg": lambda: diffused(np.asarray(photograph().convert("L"))),
    "floyd-steinberg, level": lambda: diffused(np.full((SIDE, SIDE), 90)),
    "few colours": lambda: np.asarray(
        photograph().convert("P", palette=Image.Palette.ADAPTIVE, colors=6).convert("RGB")
    ),
    "screen": lambda: screen(5) > 0.3,
    "screen of a ramp": lambda: screen(4.2) > RAMP / 64 - 2,
    "fax": text,
    "code": lambda: random(2, size=32),
    "code of two": lambda: enlarged(random(2, size=30), 2),
    "pixel art": lambda: enlarged(random(6, 3, 32), 2),
    "pixels of colour": lambda: random(2, 3, 32),
    "noise": lambda: random(256),
}


def graphic(name: str) -> np.ndarray:
    """uint8, (h, w) or (h, w, 3)."""
    pixels = GRAPHICS[name]()
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255).astype(np.uint8)
