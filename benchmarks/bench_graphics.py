"""Measure the levels of rendered dithers, screens, text and codes, with and without the guard.

python -m benchmarks.bench_graphics --model fast compact --scale 2
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from engine import DataNorm
from models.checkpoint import load_model
from rendering.grid import output_grid
from rendering.picture import Picture
from rendering.tiles import Renderer
from tests.rendering.graphics import GRAPHICS, graphic

FAR = 110  # distance from bicubic interpolation that counts as far, in levels of 8 bits


def main() -> None:
    parser = argparse.ArgumentParser(description="Render dithers, screens, text and codes.")
    parser.add_argument("--model", nargs="+", default=["fast", "compact"])
    parser.add_argument("--scale", type=float, default=2)
    args = parser.parse_args()
    bicubic, _ = load_model("bicubic")
    models = {name: load_model(name) for name in args.model}
    heads = [f"{name}, {kind}" for name in models for kind in ("bare", "guarded")]
    print("| mean level, and part that is far from bicubic |", " | ".join(["input", *heads]), "|")
    print("|---|" + "---:|" * (len(heads) + 1))
    for name in GRAPHICS:
        pixels = graphic(name)
        plain = render(bicubic, None, pixels, args.scale, False)
        cells = [f"{pixels.mean():.0f}"]
        for model, norm in models.values():
            for guarded in (False, True):
                made = render(model, norm, pixels, args.scale, guarded)
                far = (np.abs(made - plain) > FAR).mean()
                cells.append(f"{made.mean():.0f}, {far:.0%}")
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


def render(
    model: Any, norm: DataNorm | None, pixels: np.ndarray, scale: float, guarded: bool
) -> np.ndarray:
    """Render to levels from 0 to 255, as floats."""
    model.guarded = guarded
    picture = Picture(pixels[..., None] if pixels.ndim == 2 else pixels)
    rows, cols = output_grid(picture.size, scale=(scale, scale))
    bands = torch.cat([*Renderer(model, norm).render(picture, rows, cols)], dim=2)
    return picture.rows(bands, picture.channels, pixels.dtype).astype(float)


if __name__ == "__main__":
    main()
