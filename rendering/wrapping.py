"""Seamless textures: beyond each edge, the picture continues from the opposite edge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rendering.grid import Axis
from rendering.picture import Picture
from rendering.tiles import Renderer

AROUND = 16  # pixels beyond those that a model sees


def wrapped(
    renderer: Renderer, picture: Picture, rows: Axis, cols: Axis
) -> tuple[Picture, Axis, Axis]:
    """Pad a picture with what continues beyond its edges, and move the output grid accordingly.

    Args:
        rows, cols: The output grid in the unpadded picture.
    """
    reach = max(picture.size)
    step = 1
    if renderer.knows_parts and renderer.reach is not None:
        reach = renderer.reach + renderer.margin + AROUND
        step = renderer.model.alignment
    around = []
    for axis in (rows, cols):
        filtered = math.ceil(2 * axis.step) + 1 if axis.step > 1 else 0
        around.append(-(-max(reach, filtered) // step) * step)
    down, across = around
    pixels = np.pad(picture.pixels, ((down, down), (across, across), (0, 0)), mode="wrap")
    lines, places = (
        Axis.over(axis.size + 2 * n, len(axis), axis.start + n, len(axis) * axis.step)
        for axis, n in zip((rows, cols), around, strict=True)
    )
    return replace(picture, pixels=pixels, token=object()), lines, places
