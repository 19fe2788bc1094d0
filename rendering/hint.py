"""Tell users which pictures suit the model for photographs: noise and visible JPEG compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.checkpoint import checkpoint_file
from rendering.picture import Picture
from rendering.tiles import Renderer

PHOTO = "photo"  # the model, in weights/
LINES = 3  # hints shown in a run; further pictures are only counted

# The luma table of JPEG (ITU-T T.81, annex K.1), which the IJG's library scales by a factor.
LUMA = """
    16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55
    14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
    18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92
    49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
# Only lower qualities get a hint. At x2 with `fast`, steps at block borders are larger than those
# between them by a factor of 2.0, 1.5, 1.27, 1.12, 1.02 at qualities 50, 75, 85, 90, 95, and 1.01
# without JPEG (nine images of B100).
VISIBLE = 90

TILE, ACROSS = 24, 16  # side of the tiles that are examined, and how many there are each way
SMOOTH = 10  # only the smoothest tiles count, one in this many
FEWEST = 4
DARK, BRIGHT = 32, 224  # mean levels beyond which noise is cut off
NOISY, NOISIEST = 4.0, 60.0  # levels of 255
WHITE = 0.7, 1.5  # range of the ratio of white noise at twice the size to that at full size
LEVELS = 24  # distinct levels that noise has at least; dithers and graphics have fewer
NORMAL = 0.6745  # median of the absolute value of a standard normal variable


class HintingRenderer(Renderer):
    """A renderer whose notes also say when the model for photographs would suit a picture better.

    Attributes:
        lines: Number of hints still to be shown.
        unsaid: Number of further pictures that would have had one.
    """

    def __init__(self, *args: Any, lines: int) -> None:
        super().__init__(*args)
        self.lines, self.unsaid = lines, 0

    def notes(self, picture: Picture) -> tuple[str, ...]:
        """Add the hint, if there is one, to `Renderer.notes`."""
        notes, found = super().notes(picture), hint(picture)
        if found is None:
            return notes
        if not self.lines:
            self.unsaid += 1
            return notes
        self.lines -= 1
        return (*notes, found)


def is_there() -> bool:
    """Check whether the model for photographs is installed."""
    file = checkpoint_file(PHOTO)
    return file.suffix == ".pth" and file.is_file()


def hint(picture: Picture) -> str | None:
    """Make a line for the user if the model for photographs suits a picture better, else None."""
    quality, sigma = jpeg_quality(picture.quantisation), noise(picture)
    jpeg = f"JPEG of quality {quality}" if quality is not None and quality < VISIBLE else ""
    noisy = f"noisy (about {sigma:.0f} levels of 255)" if sigma else ""
    if jpeg and noisy:
        return f"{jpeg}, and {noisy}; --model {PHOTO} takes both away"
    if jpeg or noisy:
        return f"{jpeg or noisy}; --model {PHOTO} takes {'its blocks' if jpeg else 'that'} away"
    return None


def jpeg_quality(table: Sequence[int] | None) -> int | None:
    """The quality, 1 to 100, for which the IJG's library makes the nearest luma table.

    Args:
        table: 64 numbers, row by row; None: of no JPEG.
    """
    if table is None or len(table) != 64:
        return None
    qualities = np.arange(1, 101)
    factors = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = (np.array(LUMA.split(), int) * factors[:, None] + 50) // 100
    return int(qualities[np.abs(tables.clip(1, 255) - np.asarray(table)).sum(1).argmin()])


def noise(picture: Picture) -> float:
    """Estimate the standard deviation of white noise in levels of 255; 0 if it is not visible.

    It is the median of the absolute finest diagonal differences (Donoho, Johnstone, 1994), taken
    with the mask of Immerkaer (1996), in the smoothest tiles. White noise has as much in means of
    2 x 2 pixels (times 2); textures have more and dithers less, so they do not count as noise. Only
    green is used, as the noise of three channels is weaker in luma.
    """
    tiles = _tiles(picture)
    if len(tiles) < FEWEST:
        return 0.0
    fine = _spread(tiles)
    means = tiles.reshape(len(tiles), TILE // 2, 2, TILE // 2, 2).mean((2, 4))
    coarse = 2 * _spread(means)
    smooth = np.argsort(np.hypot(fine, coarse), kind="stable")[: max(FEWEST, len(tiles) // SMOOTH)]
    sigma, twice = (float(np.median(part[smooth])) for part in (fine, coarse))
    if not NOISY <= sigma <= NOISIEST or not WHITE[0] <= twice / sigma <= WHITE[1]:
        return 0.0
    return sigma if len(np.unique(np.rint(tiles[smooth]))) >= LEVELS else 0.0


def _tiles(picture: Picture) -> np.ndarray:
    """Get tiles (N, TILE, TILE) of green, in levels of 255, that are opaque and not clipped."""
    firsts = [
        np.linspace(0, size - TILE, min(ACROSS, size // TILE)).astype(int) for size in picture.size
    ]
    parts = [picture.pixels[y : y + TILE, x : x + TILE] for y in firsts[0] for x in firsts[1]]
    if picture.has_alpha:
        parts = [part for part in parts if (part[..., -1] >= picture.white).all()]
    green = 0 if picture.channels < 3 else 1
    tiles = np.array([part[..., green] for part in parts], np.float32).reshape(-1, TILE, TILE)
    tiles *= np.float32(255 / picture.white)
    means = tiles.mean((1, 2))
    return tiles[(means > DARK) & (means < BRIGHT)]


def _spread(tiles: np.ndarray) -> np.ndarray:
    """Estimate the standard deviation of the noise in each tile of (N, r, c)."""
    for axis in (1, 2):
        tiles = np.diff(tiles, 2, axis)
    return np.median(np.abs(tiles), (1, 2)) / (6 * NORMAL)  # 6: root of the mask's sum of squares
