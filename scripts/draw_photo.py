"""Draw docs/photo.png: degraded pictures at x2, as they are, and by the models fast and photo.

    python scripts/draw_photo.py

Needs matplotlib (requirements-dev.txt).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from skimage import data

from cli.command import outlive_output, run
from datasets import degradations
from rendering.upscaler import load
from scripts.figures import Panel, draw_panels, save_figure

OUTPUT = Path("docs/photo.png")
SIDE, SCALE = 96, 2  # side of a picture in its own pixels
LABEL, GAP = 24, 6  # pixels above a panel, and between panels
MODELS = {
    "the picture": "bicubic",
    "fast": "fast",
    "photo, strength 0.5": "photo@0.5",
    "photo": "photo",
}

PHONE = [
    {"name": "poisson", "args": {"scale": 1.0}},
    {"name": "noise", "args": {"sigma": 9}},
    {"name": "jpeg", "args": {"quality": 80}},
]
JPEG = [{"name": "jpeg", "args": {"quality": 40}}]


class Scene(NamedTuple):
    """A picture and what has happened to it."""

    label: str
    pixels: np.ndarray
    damage: list[dict[str, Any]]


def line_art() -> np.ndarray:
    """Draw thin lines, circles and hatching."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for i in range(5):
        draw.ellipse((6 + 7 * i, 6 + 5 * i, 70 - 4 * i, 62 - 3 * i), outline="black")
        draw.line((4, 68 + 5 * i, 92, 88 - 5 * i), fill=(180, 30, 30), width=1)
    for x in range(74, 94, 4):
        draw.line((x, 6, x - 8, 54), fill=(20, 40, 150))
    return np.asarray(image)


def scenes() -> list[Scene]:
    """Make the pictures, of a phone's noise and of JPEG."""

    def part(image: np.ndarray, top: int, left: int) -> np.ndarray:
        image = np.stack([image] * 3, -1) if image.ndim == 2 else image
        return image[top : top + SIDE, left : left + SIDE]

    return [
        Scene("face, as of a phone in dim light", part(data.astronaut(), 56, 172), PHONE),
        Scene("sky, as of a phone in dim light", part(data.rocket(), 20, 300), PHONE),
        Scene("fur, JPEG of quality 40", part(data.chelsea(), 90, 120), JPEG),
        Scene("text, JPEG of quality 40", part(data.text(), 30, 150), JPEG),
        Scene("line art, JPEG of quality 40", line_art(), JPEG),
    ]


def draw() -> Figure:
    """Draw a row for each picture, with each pixel as one of the figure's."""
    models = {label: load(name) for label, name in MODELS.items()}
    rows: list[list[Panel]] = []
    for scene in scenes():
        chain = degradations.make_all(scene.damage)
        low = degradations.degraded(scene.pixels, chain, np.random.default_rng(0))
        row = [(label, model.upscale(low, scale=SCALE)) for label, model in models.items()]
        rows.append([(scene.label, row[0][1]), *row[1:]])
    return draw_panels(rows, SIDE * SCALE, LABEL, GAP)


def main() -> None:
    outlive_output()
    with rc_context({"font.size": 9}):
        save_figure(draw(), OUTPUT, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    run(main)
