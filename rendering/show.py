"""Prepare pictures for comparisons and videos: colours in 8 bits, on white."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rendering.picture import Picture
from rendering.reading import read_picture
from rendering.tiles import Renderer

BAND = 2**20  # pixels converted at a time
UINT8 = np.dtype(np.uint8)


def read_to_show(renderer: Renderer, source: str | Path, max_pixels: int) -> Picture:
    """Read a picture, put it on white where it is transparent, and print its notes to stderr.

    Raises:
        UserError: If it cannot be read.
    """
    picture = read_picture(source, max_pixels)
    for note in (*picture.notes, *renderer.notes(picture)):
        print(f"{source}: {note}", file=sys.stderr)
    if not picture.has_alpha:
        return picture
    colours, dtype = picture.channels - 1, picture.pixels.dtype
    pixels = _by_bands(picture, lambda rows: picture.rows(picture.planes(rows), colours, dtype))
    return Picture(pixels, picture.icc, picture.notes)


def eight_bits(picture: Picture) -> np.ndarray:
    """Convert a picture without alpha to RGB, uint8 (h, w, 3)."""
    if picture.channels == 3 and picture.pixels.dtype == UINT8:
        return picture.pixels
    return _by_bands(picture, lambda rows: picture.rows(picture.planes(rows), 3, UINT8))


def _by_bands(picture: Picture, convert: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Convert a band of rows at a time, as planes of the whole would need far more memory."""
    height, width = picture.size
    step = max(1, BAND // width)
    return np.concatenate([convert(slice(y, y + step)) for y in range(0, height, step)])
