"""The codes around queries, and parts of a grid that hold everything that some queries read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.reading import amounts
from models.reading.codes import CodeTable, Move, in_pieces, nearest_code
from utils import nearest_index, pixel_centres, pixel_position

Grid = tuple[int, int]


class Axis(NamedTuple):
    """The n codes around each query along one axis, and the two codes that it lies between.

    Attributes:
        codes: (n, B, Q), index, which may lie outside the grid.
        rel: (n, B, Q), from the code to the query in units of half a code's side.
        first: (B, Q), index of the first of the two.
        share: (B, Q), weight of the second of the two.
    """

    codes: Tensor
    rel: Tensor
    first: Tensor
    share: Tensor

    def span(self) -> range:
        """Return the range from the first to the last code that any query reads."""
        first = min(self.codes.min().item(), self.first.min().item())
        last = max(self.codes.max().item(), self.first.max().item() + 1)
        return range(int(first), int(last) + 1)


class Around(NamedTuple):
    """The n x n codes around each query.

    Attributes:
        rows, cols: The codes along each axis.
        lost: (B, Q), queries without a nearest code: on the border at +1, rounding to even leads
            out of a grid of even size. They get the codes around the centre, just like with
            ``grid_sample(mode="nearest")`` of the codes' coordinates.
    """

    rows: Axis
    cols: Axis
    lost: Tensor

    def some(self, part: slice) -> Around:
        """Return the same for some of the queries."""
        rows, cols = (Axis(*(x[..., part] for x in axis)) for axis in (self.rows, self.cols))
        return Around(rows, cols, self.lost[:, part])


def around(coord: Tensor, grid: Grid, reach: int) -> Around:
    """Find the codes up to ``reach`` codes away from the nearest one of each query (B, Q, 2)."""
    places = [pixel_position(coord[..., axis], n) for axis, n in enumerate(grid)]
    lost = (places[0].round() >= grid[0]) | (places[1].round() >= grid[1])
    steps = torch.arange(-reach, reach + 1, dtype=coord.dtype, device=coord.device).view(-1, 1, 1)
    axes = []
    for axis, n in enumerate(grid):
        x, place = coord[..., axis], places[axis]
        centres = pixel_centres(n, dtype=x.dtype, device=x.device)
        nearest = centres[place.round().long().clamp(0, n - 1)].masked_fill(lost, 0)
        code = nearest + steps * (2 / n)
        first = place.floor()
        codes = pixel_position(code, n).round().long()
        axes.append(Axis(codes, (x - code) * n, first.long(), place - first))
    return Around(axes[0], axes[1], lost)


class Window(NamedTuple):
    """A part of a map (B, C, h, w), with zeros outside the image, to be read by index.

    Attributes:
        table: Codes of the part.
        origin: Row and column of its first code in the grid.
    """

    table: CodeTable
    origin: Grid

    def locate(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Convert rows and columns of the grid to an index into the table."""
        return self.table.index(rows - self.origin[0], cols - self.origin[1])

    def codes(self, around: Around) -> Tensor:
        """Read the codes around each query, row by row: (n * n, B, Q, C)."""
        count = len(around.rows.codes)
        rows = around.rows.codes.repeat_interleave(count, dim=0)
        return self.table.read(self.locate(rows, around.cols.codes.repeat(count, 1, 1)))

    def between(self, around: Around) -> Tensor:
        """Interpolate bilinearly at the queries, (B, Q, C)."""
        found = []
        for row, col in product((0, 1), repeat=2):
            index = self.locate(around.rows.first + row, around.cols.first + col)
            weight = _weight(around.rows.share, row) * _weight(around.cols.share, col)
            taps = self.table.read(index)
            found.append(taps * weight.to(taps.dtype).unsqueeze(-1))
        return torch.stack(found).sum(0)


def look_around(
    function: Callable[..., Tensor],
    count: int,
    tables: Sequence[CodeTable],
    coord: Tensor,
    moves: Sequence[Sequence[Move]],
    *inputs: Tensor,
) -> Tensor:
    """Apply a function f(own, codes, rel_coord, *inputs) to the codes nearest to moved queries.

    Args:
        function: Function of the codes (B, q, C) nearest to the queries themselves, in the first
            table; the codes (T, B, q, C) nearest to the moved queries, in each table; their
            rel_coord (T, B, q, 2); and inputs. Its results are (B, q, ...).
        count: Queries at a time.
        tables: Tables of a whole image.
        coord: (B, Q, 2).
        moves: Moves along each axis; T counts all pairs of them.
        inputs: (B, Q, D) each.
    """
    grid = tables[0].grid
    axes: list[list[tuple[Tensor, Tensor]]] = []
    for x, n, ways in zip(coord.unbind(-1), grid, moves, strict=True):
        found = (nearest_code(x, n, move) for move in ways)
        axes.append([(code, (x - centre) * n) for code, centre in found])
    pairs = list(product(*axes))
    places = torch.stack([torch.stack([row, col], -1) for (row, _), (col, _) in pairs])
    rel_coord = torch.stack([torch.stack([y, x], -1) for (_, y), (_, x) in pairs])

    def read(
        places: Tensor, rel_coord: Tensor, own: Tensor, inside: Tensor, *inputs: Tensor
    ) -> Tensor:
        codes = [table.read(table.index(*places.unbind(-1))) for table in tables]
        nearest = tables[0].read(tables[0].index(*own.unbind(-1)))
        return function(nearest * inside.to(nearest.dtype), codes, rel_coord, *inputs)

    return in_pieces(read, count, places, rel_coord, *_unmoved(coord, grid), *inputs)


def _unmoved(coord: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Find each query's own code (B, Q, 2), and whether it is inside the grid (B, Q, 1).

    A query on the border at +1 is between the last code and nothing; rounding to even decides.
    """
    index, inside = [], torch.ones_like(coord[..., 0], dtype=torch.bool)
    for x, n in zip(coord.unbind(-1), grid, strict=True):
        index.append(nearest_index(x, n))
        inside = inside & (pixel_position(x, n).round() < n)
    return torch.stack(index, dim=-1), inside.unsqueeze(-1)


def resample(
    maps: Tensor, size: Grid, origin: Grid, grid: Grid, rows: range, cols: range
) -> Tensor:
    """Interpolate a map bilinearly at some pixels of a finer grid, with zeros outside the image.

    Args:
        maps: (B, C, h, w), the part that begins at ``origin`` of a map of ``size``.
        grid: Size of the finer grid.
        rows, cols: Pixels of the finer grid, or outside it, where the result is zero.

    Returns:
        (B, C, rows, cols).
    """
    for dim, n, start, count, part in zip((-2, -1), size, origin, grid, (rows, cols), strict=True):
        dtype = torch.promote_types(maps.dtype, torch.float32)
        x = pixel_centres(count, dtype=dtype, device=maps.device, part=part)
        place = pixel_position(x, n)
        first = place.floor()
        padded = F.pad(maps, (0, 0, 1, 1) if dim == -2 else (1, 1))
        share = (place - first).to(maps.dtype).view((-1, 1) if dim == -2 else (-1,))
        total = torch.zeros((), dtype=maps.dtype, device=maps.device)
        for step in (0, 1):
            index = (first.long() + step - start + 1).clamp(0, padded.shape[dim] - 1)
            total = total + padded.index_select(dim, index) * _weight(share, step)
        maps = total
    return only_inside(maps, grid, rows, cols)


def only_inside(maps: Tensor, grid: Grid, rows: range, cols: range) -> Tensor:
    """Set to zero the pixels outside a map of size ``grid``."""
    row, col = (
        torch.tensor([0 <= i < n for i in part], dtype=maps.dtype, device=maps.device)
        for n, part in zip(grid, (rows, cols), strict=True)
    )
    return maps * row.unsqueeze(1) * col


def group(keys: Tensor, most: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Group queries with the same key into rows of at most `LONGEST_ROW`, ``most`` rows at a time.

    Args:
        keys: (N,).

    Returns:
        For each part, the keys of its rows (G,), the indices of the queries that have them (G, w),
        and a mask (G, w) of the valid ones, as rows are padded to the longest.
    """
    order = keys.argsort()
    _, counts = torch.unique_consecutive(keys[order], return_counts=True)
    own = torch.arange(len(keys), device=keys.device)
    within = own - (counts.cumsum(0) - counts).repeat_interleave(counts)
    starts = own[within % amounts.LONGEST_ROW == 0]
    counts = torch.cat([starts[1:], own.new_tensor([len(keys)])]) - starts
    parts = []
    for start, number in zip(starts.split(most), counts.split(most), strict=True):
        places = torch.arange(int(number.max()), device=keys.device)
        members = (start.unsqueeze(1) + places).clamp(max=len(keys) - 1)
        parts.append((keys[order[start]], order[members], places < number.unsqueeze(1)))
    return parts


def _weight(share: Tensor, second: int) -> Tensor:
    return share if second else 1 - share
