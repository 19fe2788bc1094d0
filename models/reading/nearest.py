"""Find the code nearest to a query, and apply a function to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from models.reading.codes import CodeTable, in_cache, in_pieces
from models.reading.latent import CodeLatent
from utils import Size, nearest_index, pixel_centres, pixel_position

# Queries are moved by this much, so that points between two codes take the same one on any machine.
EPS = 1e-6

Move = Tensor | float | None


def nearest_code(x: Tensor, n: int, move: Move = None) -> tuple[Tensor, Tensor]:
    """Find the code nearest to coordinates along an axis of n codes: its index and its centre.

    Args:
        x: fp32 or wider; indices are computed in its dtype.
        move: Distance by which to move the coordinates, in addition to `EPS`; None for no move.
    """
    moved = x if move is None else x + (move + EPS)
    index = nearest_index(moved.clamp(-1 + EPS, 1 - EPS), n)
    return index, pixel_centres(n, dtype=x.dtype, device=x.device)[index]


def at_nearest(
    function: Callable[[Tensor, Tensor], Tensor],
    latent: CodeLatent,
    point: Tensor,
    inputs: Callable[[Tensor], Tensor],
) -> Tensor:
    """Apply a function f(z, inputs(v)) to the code z nearest to each point, whose centre is v.

    A point between two codes takes the second.

    Args:
        function: Function of (B, q, C) and (B, q, D), with results (B, q, ...).
        point: (B, Q, 2).
        inputs: Function of the centres of all queries at once: (B, Q, 2) to (B, Q, D).
    """
    codes = latent.codes
    axes = zip(point.unbind(-1), latent.grid, strict=True)
    (row, y), (col, x) = (nearest_code(x, n, 0.0) for x, n in axes)
    top, left = latent.grid_origin
    index = codes.index(row - top, col - left).unsqueeze(0)

    def predict(z: Tensor, x: Tensor, spare: Tensor | None) -> Tensor:
        return function(z.squeeze(0), x.squeeze(0))

    return in_cache(predict, codes, index, inputs(torch.stack([y, x], dim=-1)).unsqueeze(0))


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
    around = torch.stack([torch.stack([row, col], -1) for (row, _), (col, _) in pairs])
    rel_coord = torch.stack([torch.stack([y, x], -1) for (_, y), (_, x) in pairs])

    def read(
        around: Tensor, rel_coord: Tensor, own: Tensor, inside: Tensor, *inputs: Tensor
    ) -> Tensor:
        codes = [table.read(table.index(*around.unbind(-1))) for table in tables]
        nearest = tables[0].read(tables[0].index(*own.unbind(-1)))
        return function(nearest * inside.to(nearest.dtype), codes, rel_coord, *inputs)

    return in_pieces(read, count, around, rel_coord, *_unmoved(coord, grid), *inputs)


def _unmoved(coord: Tensor, grid: Size) -> tuple[Tensor, Tensor]:
    """Find each query's own code (B, Q, 2), and whether it is inside the grid (B, Q, 1).

    A query on the border at +1 is between the last code and nothing; rounding to even decides.
    """
    index, inside = [], torch.ones_like(coord[..., 0], dtype=torch.bool)
    for x, n in zip(coord.unbind(-1), grid, strict=True):
        index.append(nearest_index(x, n))
        inside = inside & (pixel_position(x, n).round() < n)
    return torch.stack(index, dim=-1), inside.unsqueeze(-1)
