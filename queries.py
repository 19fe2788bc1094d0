"""Points, or the pixels of a grid, at which colours are queried, with the size of the pixels.

Published calls pass lists of coordinates. Code that knows they form a grid says so with
`Queries.grid`; whether a list forms a grid is found out here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from utils import Axes, Size, in_inference, make_coord


@dataclass(frozen=True, eq=False)
class Queries:
    """Points at which colours are queried, each with the size of its pixel.

    Attributes:
        coord: (B, Q, 2), (row, column) in [-1, 1], float32 or float64.
        cell: (B, Q, 2), height and width of the pixels, (2/H, 2/W); None if not given.
        known_axes: The `axes` of a grid; None to find them out.
        known_picture: The `picture`; None to find it out.
    """

    coord: Tensor
    cell: Tensor | None = None
    known_axes: Axes | None = None
    known_picture: Size | None = None

    @classmethod
    def grid(
        cls,
        rows: Tensor,
        cols: Tensor,
        cell: Tensor | None = None,
        batch: int = 1,
        picture: Size | None = None,
    ) -> Queries:
        """Combine every row (H,) with every column (W,), row by row, for each image of a batch.

        Args:
            cell: Height and width of a pixel (2,).
            picture: (H, W) of the whole picture, which these queries may be a part of.
        """
        coord = torch.cartesian_prod(rows, cols).expand(batch, -1, -1)
        cells = None if cell is None else cell.expand_as(coord)
        return cls(coord, cells, (rows, cols), picture)

    @cached_property
    def axes(self) -> Axes | None:
        """Coordinates of the rows (H,) and columns (W,) if the points are a grid, else None.

        A grid is the same for the whole batch, and its points come row by row.
        """
        return self.known_axes or _find_axes(self.coord)

    @property
    def fast_axes(self) -> Axes | None:
        """The `axes` where they speed up computation, in inference on a CPU; else None."""
        return self.axes if in_inference() and self.coord.device.type == "cpu" else None

    @cached_property
    def one_cell(self) -> bool:
        """Whether the queries of each image have one cell, or none."""
        cell = self.cell
        return cell is None or cell.stride(1) == 0 or bool((cell == cell[:, :1]).all())

    @cached_property
    def picture(self) -> Size | None:
        """(H, W) of the picture that these queries are the pixels, or some of the pixels, of.

        None if it was not given and they are not a grid with at least two rows and columns.
        """
        if self.known_picture is not None:
            return self.known_picture
        # In any order, so also flipped or turned.
        rows, cols = (x.unique() for x in self.coord[0].unbind(-1))
        if len(rows) * len(cols) != self.coord.shape[1] or min(len(rows), len(cols)) < 2:
            return None
        height, width = (round(2 * (len(x) - 1) / (x[-1] - x[0]).item()) for x in (rows, cols))
        return height, width

    @property
    def required_cell(self) -> Tensor:
        """The cell, for a model that decodes it.

        Raises:
            ValueError: If no cell was given.
        """
        if self.cell is None:
            raise ValueError("this model decodes cells: query_rgb needs cell (B, Q, 2)")
        return self.cell

    def with_cell(self, needed: bool = True) -> Queries:
        """Return these queries with the `required_cell`, or without one if it is not needed."""
        cell = self.required_cell if needed else None
        return self if cell is self.cell else replace(self, cell=cell)

    def item(self, number: int) -> Queries:
        """Return the queries of one image of the batch."""
        part = slice(number, number + 1)
        cell = None if self.cell is None else self.cell[part]
        return replace(self, coord=self.coord[part], cell=cell)


def size_by_cell(cell: Tensor | Sequence[float]) -> Size:
    """Compute (H, W) of a picture whose pixels have the size cell (2,)."""
    height, width = (round(2 / float(side)) for side in cell)
    return height, width


def whole_picture(coord: Tensor, cell: Tensor) -> Size | None:
    """Return (H, W) if a sample has exactly all pixels of a picture, row by row; else None.

    Args:
        coord, cell: (Q, 2).
    """
    size = size_by_cell(cell[0])
    if size[0] * size[1] != len(coord):
        return None
    return size if torch.allclose(coord, make_coord(size).to(coord), atol=1e-5) else None


def _find_axes(coord: Tensor) -> Axes | None:
    one = len(coord) == 1 or coord.stride(0) == 0 or torch.equal(coord, coord[:1].expand_as(coord))
    if coord.shape[1] == 0 or not one:
        return None
    rows, cols = coord[0].unbind(-1)
    width = int((rows == rows[0]).sum())
    if not width or len(rows) % width:  # NaN is not equal to itself
        return None
    rows, cols = rows.view(-1, width), cols.view(-1, width)
    if not torch.equal(rows, rows[:, :1].expand_as(rows)):
        return None
    if not torch.equal(cols, cols[:1].expand_as(cols)):
        return None
    return rows[:, 0], cols[0]
