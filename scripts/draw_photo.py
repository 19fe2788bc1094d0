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

import io
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from skimage import data

from cli.command import outlive_output, run
from datasets import degradations
from files.whole import written_whole
from rendering.upscaler import load

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
    side = SIDE * SCALE
    rows = scenes()
    width = len(models) * (side + GAP) + GAP
    height = len(rows) * (side + LABEL + GAP)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for row, scene in enumerate(rows):
        chain = degradations.make_all(scene.damage)
        low = degradations.degraded(scene.pixels, chain, np.random.default_rng(0))
        for column, (label, model) in enumerate(models.items()):
            left, top = GAP + column * (side + GAP), LABEL + row * (side + LABEL + GAP)
            bottom = height - top - side
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            axes.imshow(model.upscale(low, scale=SCALE), interpolation="nearest")
            axes.set_axis_off()
            title = scene.label if column == 0 else label
            axes.text(0, 1 + 4 / side, title, transform=axes.transAxes, va="bottom")
    return figure


def main() -> None:
    outlive_output()
    OUTPUT.parent.mkdir(exist_ok=True)
    with rc_context({"font.size": 9}):
        encoded = io.BytesIO()
        draw().savefig(encoded, pil_kwargs={"optimize": True})
    with written_whole(OUTPUT) as file:
        file.write(encoded.getbuffer())
    print(f"{OUTPUT}: {OUTPUT.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    run(main)
