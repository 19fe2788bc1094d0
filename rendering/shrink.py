"""Shrink with an averaging filter, since a network has nothing to add at scales below 1.

The filter is Keys' cubic kernel (a = -1/2), stretched by the scale, as in Pillow: the one that the
models are trained to undo. At scale 1 it is the identity. Where one axis grows and the other
shrinks, the network renders the growing axis for every pixel of the other, and then the other is
filtered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rendering.grid import Axis

HALF = 2  # half the width of the kernel, in output pixels
STEP = 64  # output columns at a time; few, so that each needs only part of the input columns
ROWS = 64  # input rows at a time


class Taps(NamedTuple):
    """The range of input pixels ``first`` to ``last`` (N,) of N outputs, with weights (N, T)."""

    first: Tensor
    last: Tensor
    weights: Tensor

    def some(self, start: int, stop: int) -> Taps:
        """Select the taps of some output pixels."""
        part = slice(start, stop)
        return Taps(self.first[part], self.last[part], self.weights[part])

    @property
    def span(self) -> tuple[int, int]:
        """The first input pixel that is used, and the one after the last."""
        return int(self.first[0]), int(self.last[-1])

    def matrix(self, start: int, stop: int) -> Tensor:
        """Make the matrix of weights (N, stop - start) of input pixels ``start`` to ``stop``."""
        index = self.first.unsqueeze(1) + torch.arange(self.weights.shape[1]) - start
        inside = (index >= 0) & (index < stop - start)
        matrix = torch.zeros(len(self.first), stop - start)
        return matrix.scatter_add_(1, index.clamp(0, stop - start - 1), self.weights * inside)


class Shrinking:
    """A plan of what to render for an output, and how to filter it then.

    Args:
        rows, cols: The output grid.

    Attributes:
        needs_network: Whether an axis grows; else the input's own pixels are filtered.
        rows, cols: The grid to render; along an axis that is filtered, the input's pixels.
    """

    def __init__(self, rows: Axis, cols: Axis) -> None:
        self.needs_network = min(rows.step, cols.step) < 1
        self._taps = [
            cubic_taps(axis) if axis.step > 1 or not self.needs_network else None
            for axis in (rows, cols)
        ]
        self.rows, self.cols = (
            axis if taps is None else _pixels(axis.size, *taps.span)
            for axis, taps in zip((rows, cols), self._taps, strict=True)
        )

    def filter(self, bands: Iterator[Tensor]) -> Iterator[Tensor]:
        """Filter rendered bands (K, C, r, W') to bands (K, C, r', W) of the output."""
        rows, cols = self._taps
        if cols is not None:
            bands = _columns(bands, cols)
        return bands if rows is None else _rows(bands, rows)


def _pixels(size: int, start: int, stop: int) -> Axis:
    """Make the axis of input pixels from ``start`` to ``stop``."""
    return Axis.over(size, stop - start, start, stop - start)


def cubic_taps(axis: Axis) -> Taps:
    """Compute the weights of an axis; weights of pixels beyond the image go to the others."""
    stretch, centres = max(axis.step, 1.0), axis.places
    first = (centres - HALF * stretch + 0.5).floor().long().clamp(min=0)
    last = (centres + HALF * stretch + 0.5).floor().long().clamp(max=axis.size)
    index = first.unsqueeze(1) + torch.arange(int((last - first).max()))
    x = ((index + 0.5 - centres.unsqueeze(1)) / stretch).abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, far * (x < HALF)) * (index < last.unsqueeze(1))
    return Taps(first, last, (weights / weights.sum(1, keepdim=True)).float())


def _columns(bands: Iterator[Tensor], taps: Taps) -> Iterator[Tensor]:
    start = taps.span[0]
    parts = []
    for left in range(0, len(taps.first), STEP):
        part = taps.some(left, left + STEP)
        parts.append((slice(part.span[0] - start, part.span[1] - start), part.matrix(*part.span).T))
    for band in bands:
        yield torch.cat([band[..., seen] @ matrix for seen, matrix in parts], dim=-1)


def _rows(bands: Iterator[Tensor], taps: Taps) -> Iterator[Tensor]:
    """Filter along rows, adding up each output row as its input rows arrive."""
    place, done = taps.span[0], 0
    sums: Tensor | None = None
    for large in bands:
        for band in large.split(ROWS, dim=2):
            stop = place + band.shape[2]
            begun = int(torch.searchsorted(taps.first, stop))
            matrix = taps.some(done, begun).matrix(place, stop)
            added = torch.einsum("ij,kcjw->kciw", matrix, band)
            if sums is not None:
                added[:, :, : sums.shape[2]] += sums
            ready = int(torch.searchsorted(taps.last[done:begun], stop, right=True))
            if ready:
                yield added[:, :, :ready]
            sums, done, place = added[:, :, ready:], done + ready, stop
    assert done == len(taps.first)
