"""Say exactly which output pixels a picture has at a scale, so that its parts fit together.

Steps are fractions, not floats: the same pixel is computed from the same numbers, whichever part of
the picture it is asked for with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch

from rendering.grid import FINEST, Axis
from utils import pixel_centres

BLOCK = 256  # output pixels along a side of a block


@dataclass(frozen=True)
class Lattice:
    """The output pixels along one axis of a picture, numbered from its start.

    Attributes:
        size: Number of input pixels of the picture.
        step: Input pixels per output pixel.
        phase: Where pixel 0 begins, in output pixels, in [0, 1).
    """

    size: int
    step: Fraction
    phase: Fraction = Fraction(0)

    @classmethod
    def whole(cls, size: int, count: int) -> Lattice:
        """Divide a picture's axis into ``count`` output pixels."""
        return cls(size, Fraction(size, count))

    @property
    def count(self) -> int:
        """The number of output pixels that lie in the picture, at least in part."""
        return math.ceil(self.size / self.step - self.phase)

    def axis(self, pixels: range) -> Axis:
        """Make the axis of some of the output pixels."""
        total = self.size / self.step
        start = float((pixels.start + self.phase) * self.step)
        if self.phase == 0 and total.denominator == 1 and total <= FINEST:
            centres = pixel_centres(total.numerator, part=pixels)
        else:
            places = torch.arange(pixels.start, pixels.stop, dtype=torch.float64)
            centres = (places + float(self.phase) + 0.5) * float(self.step * 2 / self.size) - 1
            centres = centres if total > FINEST else centres.float()
        return Axis(self.size, centres, float(2 / total), start)

    def blocks(self, pixels: range) -> Iterator[tuple[int, range]]:
        """Yield the blocks that some output pixels lie in: their number and all of their pixels."""
        for number in range(pixels.start // BLOCK, -(-pixels.stop // BLOCK)):
            yield number, range(number * BLOCK, min((number + 1) * BLOCK, self.count))


class Grid(NamedTuple):
    """The rows and columns of output pixels of a picture."""

    rows: Lattice
    cols: Lattice

    @classmethod
    def whole(cls, size: tuple[int, int], counts: tuple[int, int]) -> Grid:
        """Divide a picture of (h, w) pixels into (H, W) output pixels."""
        rows, cols = (Lattice.whole(*each) for each in zip(size, counts, strict=True))
        return cls(rows, cols)

    @property
    def enlarges(self) -> bool:
        """Whether there are more output pixels than input pixels along an axis, or as many."""
        return min(self.rows.step, self.cols.step) <= 1


class Part(NamedTuple):
    """A part of the output pixels of a picture."""

    grid: Grid
    rows: range
    cols: range

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.cols)

    @property
    def seen(self) -> tuple[float, float]:
        """The rows and columns of input pixels that it shows."""
        rows, cols = self.grid
        return float(len(self.rows) * rows.step), float(len(self.cols) * cols.step)


def part_over(
    size: tuple[int, int],
    region: tuple[Fraction, Fraction, Fraction, Fraction],
    counts: tuple[int, int],
) -> Part:
    """Divide a region of a picture into (H, W) output pixels.

    Args:
        size: (h, w) of the picture.
        region: (top, left, height, width) in input pixels.
    """
    lattices, ranges = [], []
    for axis in (0, 1):
        step = region[2 + axis] / counts[axis]
        before = region[axis] / step
        first = math.floor(before)
        lattices.append(Lattice(size[axis], step, before - first))
        ranges.append(range(first, first + counts[axis]))
    return Part(Grid(*lattices), *ranges)
