"""The grid of output pixels: how many there are, and where they lie in the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from errors import UserError
from utils import pixel_centres

MAX_PIXELS = 2**30  # 32768 x 32768
LARGEST = 2**31 - 1  # largest scale or side
FINEST = 2**20  # most pixels along an image whose centres float32 can tell apart well

Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)


class Region(NamedTuple):
    """A part of the input, in input pixels, which may be fractions."""

    top: float
    left: float
    height: float
    width: float


class Border(NamedTuple):
    """The widths, in output pixels, of the border around a picture."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


class Fitted(NamedTuple):
    """The placement of a picture in an output.

    Attributes:
        part: Part of the input that is rendered.
        counts: Rows and columns that this part becomes.
        border: Border around them.
        notes: Messages for the user.
    """

    part: Region
    counts: tuple[int, int]
    border: Border = Border()
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """The size (H, W) of the output."""
        top, bottom, left, right = self.border
        return self.counts[0] + top + bottom, self.counts[1] + left + right


@dataclass(frozen=True)
class Axis:
    """The output pixels along one axis.

    Attributes:
        size: Number of input pixels of the whole image.
        centres: Centres of the output pixels (N,) in [-1, 1] over the whole image; float32, or
            float64 where they lie too close together for float32.
        cell: Size of an output pixel in these coordinates.
        start: Where the first output pixel begins, in input pixels.
    """

    size: int
    centres: Tensor
    cell: float
    start: float

    @classmethod
    def over(cls, size: int, count: int, start: float = 0.0, length: float | None = None) -> Axis:
        """Place ``count`` output pixels over ``length`` input pixels from ``start``.

        Without a length, they cover the whole image. Where they coincide with pixels of a grid over
        the whole image, they have exactly the same centres.
        """
        length = size if length is None else length
        whole, before = count * size / length, count * start / length
        total, first = round(whole), round(before)
        coincide = math.isclose(whole, total, rel_tol=1e-9) and abs(before - first) < 1e-6
        if coincide and total <= FINEST:
            centres = pixel_centres(total, part=range(first, first + count))
            return cls(size, centres, 2 / total, start)
        steps = (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count)
        centres = (steps + start) * (2 / size) - 1
        return cls(size, centres if whole > FINEST else centres.float(), 2 / whole, start)

    def __getitem__(self, part: slice) -> Axis:
        """Select some of the output pixels."""
        start = self.start + part.indices(len(self))[0] * self.step
        return replace(self, centres=self.centres[part], start=start)

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def count(self) -> int:
        """The number of output pixels over the whole image, even if this axis is a part of it."""
        return round(2 / self.cell)

    @property
    def step(self) -> float:
        """The input pixels per output pixel: below 1 the axis grows, above 1 it shrinks."""
        step = self.cell * self.size / 2
        return 1.0 if math.isclose(step, 1, rel_tol=1e-9) else step

    @property
    def places(self) -> Tensor:
        """The centres in input pixels (N,), float64: that of the first input pixel is 0.5."""
        return self.start + (torch.arange(len(self), dtype=torch.float64) + 0.5) * self.step

    @property
    def phase(self) -> tuple[float, float]:
        """A key that is the same for all parts of one grid."""
        return self.step, round(self.start / self.step % 1, 6) % 1

    def nearest(self, places: Tensor) -> Tensor:
        """Move places to the centres of the output pixels they lie in; input pixels, float64.

        The grid goes on beyond the ends of the axis; the results are clamped to the image.
        """
        number = ((places - self.start) / self.step + 1e-6).floor()
        return (self.start + (number + 0.5) * self.step).clamp(0, self.size)

    @cached_property
    def _pixels(self) -> Tensor:
        """The index of the input pixel that each output pixel lies in, ascending."""
        places = (self.centres.double() + 1) * (self.size / 2)
        return places.floor().long().clamp(0, self.size - 1)

    def span(self) -> tuple[int, int]:
        """Get the first input pixel that has output pixels in it, and the one after the last."""
        first, last = self._pixels[[0, -1]].tolist()
        return first, last + 1

    def within(self, start: int, stop: int) -> slice:
        """Get the slice of output pixels within input pixels ``start`` to ``stop``."""
        return slice(*torch.searchsorted(self._pixels, torch.tensor([start, stop])).tolist())


def output_grid(
    size: tuple[int, int],
    scale: Sequence[float] | None = None,
    resolution: tuple[int, int] | None = None,
    long_side: int | None = None,
    region: Region | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Axis, Axis]:
    """Make the rows and columns of the output, given exactly one of the three ways to size it.

    Args:
        size: (h, w) of the input.
        scale: Factors of rows and columns.
        resolution: (H, W) of the output.
        long_side: Longer side of the output; the other one is in proportion.
        region: Part of the input to render; None for all.

    Raises:
        UserError: If there would be no pixels or too many, or the region is not in the image.
    """
    part = checked_region(region, size)
    counts = output_counts((part.height, part.width), scale, resolution, long_side)
    check_count(counts, max_pixels)
    return (
        Axis.over(size[0], counts[0], part.top, part.height),
        Axis.over(size[1], counts[1], part.left, part.width),
    )


def output_counts(
    shape: tuple[float, float],
    scale: Sequence[float] | None = None,
    resolution: tuple[int, int] | None = None,
    long_side: int | None = None,
) -> tuple[int, int]:
    """Count the rows and columns of the output for a part of the input; see `output_grid`.

    Raises:
        UserError: If a scale or size is out of range, or there would be no pixels.
    """
    given = [*(scale or ()), *(resolution or ()), *([] if long_side is None else [long_side])]
    if not all(0 < number <= LARGEST for number in given):
        raise UserError(f"scales and sizes are above 0 and at most {LARGEST:g}: got {given}")
    if resolution is not None:
        return resolution
    if long_side is not None:
        rows, cols = (max(1, round(n * long_side / max(shape))) for n in shape)
        return rows, cols
    assert scale is not None
    rows, cols = (round(n * s) for n, s in zip(shape, scale, strict=True))
    if min(rows, cols) < 1:
        raise UserError(f"{shape[0]:g}x{shape[1]:g} pixels at this scale are less than one")
    return rows, cols


def check_count(counts: tuple[int, int], max_pixels: int) -> None:
    """Raise a `UserError` if an output has too many pixels."""
    if math.prod(counts) > max_pixels:
        raise UserError(
            f"{counts[0]}x{counts[1]} pixels are more than the {max_pixels} allowed: "
            "see --max-pixels"
        )


def checked_region(region: Region | None, size: tuple[int, int]) -> Region:
    """Check that a region lies in an image of (h, w) pixels; None becomes the whole image.

    Raises:
        UserError: If the region is not in the image.
    """
    if region is None:
        return Region(0.0, 0.0, *map(float, size))
    ends = (region.top + region.height, region.left + region.width)
    fits = all(end <= n * (1 + 1e-12) for end, n in zip(ends, size, strict=True))
    if not (fits and min(region.height, region.width) > 0 and min(region.top, region.left) >= 0):
        numbers = ",".join(f"{number:g}" for number in region)
        raise UserError(f"region {numbers}: not within the image of {size[0]}x{size[1]} pixels")
    return region


def keeps_shape(shape: tuple[float, float], counts: tuple[int, int]) -> bool:
    """Check whether one side is in proportion to the other, rounded up or down.

    Args:
        shape: (h, w) of the input.
        counts: (H, W) of the output.
    """
    rows, cols = counts[1] * shape[0] / shape[1], counts[0] * shape[1] / shape[0]
    return abs(rows - counts[0]) < 1 or abs(cols - counts[1]) < 1


def fitted(part: Region, counts: tuple[int, int], fit: Fit | None = None) -> Fitted:
    """Fit a part of the input to an output of (H, W) pixels.

    Args:
        fit: crop: the largest part of the middle that has the output's shape; pad: all of it, in
            the middle, with borders; stretch, or None: all of it, distorted to fill the output.
    """
    shape = (part.height, part.width)
    factors = [count / side for count, side in zip(counts, shape, strict=True)]
    if keeps_shape(shape, counts):
        return Fitted(part, counts)
    if fit == "crop":
        height, width = (count / max(factors) for count in counts)
        note = f"cropped to {height:.6g}x{width:.6g} of {part.height:g}x{part.width:g} pixels"
        top, left = part.top + (part.height - height) / 2, part.left + (part.width - width) / 2
        return Fitted(Region(top, left, height, width), counts, notes=(note,))
    if fit == "pad":
        rows, cols = (max(1, round(side * min(factors))) for side in shape)
        above, before = (counts[0] - rows) // 2, (counts[1] - cols) // 2
        border = Border(above, counts[0] - rows - above, before, counts[1] - cols - before)
        return Fitted(part, (rows, cols), border)
    more = 100 * (max(factors) / min(factors) - 1)
    side = "height" if factors[0] > factors[1] else "width"
    note = f"stretched by {more:.3g}% in {side} to {counts[0]}x{counts[1]} pixels"
    if fit is None:
        note += "; --fit crop or --fit pad would keep its shape"
    return Fitted(part, counts, notes=(note,))
