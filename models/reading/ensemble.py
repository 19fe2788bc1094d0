"""The local ensemble: which codes a query reads, and how the colours they predict are blended.

Source: Chen, Liu, Wang, "Learning Continuous Image Representation with Local Implicit Image
Function", CVPR 2021, eq. 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from models.reading import amounts
from models.reading.codes import fits_cache, in_cache, nearest_code
from models.reading.decoder import CodeFunction
from models.reading.latent import CodeLatent
from queries import Queries
from utils import Size

# f(z, rel_coord, rel_cell): colours (T, B, K, S, 3) from codes z (T, B, K, 1, C), each for S
# queries (T, B, K, S, 2) and pixels of size rel_cell (1, B, K, 1, 2).
Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Side(NamedTuple):
    """The codes along one axis nearest to queries moved V = 2 ways, up and down, or not (V = 1).

    Attributes:
        code: (V, ...), index of the code along the axis.
        rel: (V, ..., L), from the code to each of L queries, in units of half a code's side.
    """

    code: Tensor
    rel: Tensor

    def runs(self) -> Iterator[tuple[Tensor, Side]]:
        """Group the N queries of an axis into runs of neighbours that have the same codes.

        Yields:
            For each run length L up to `LONGEST_RUN`, the indices of the queries (n, L), and code
            (V, n), rel (V, n, L).
        """
        differ = (self.code[:, 1:] != self.code[:, :-1]).any(0)
        own = torch.arange(self.code.shape[1], device=self.code.device)
        first_of_run = torch.cat([own[:1], own[1:] * differ]).cummax(0).values
        starts = own[(own - first_of_run) % amounts.LONGEST_RUN == 0]
        lengths = torch.cat([starts[1:], starts.new_tensor([self.code.shape[1]])]) - starts
        for length in lengths.unique().tolist():
            first = starts[lengths == length]
            members = first.unsqueeze(1) + torch.arange(length, device=first.device)
            yield members, Side(self.code[:, first], self.rel[:, members, 0])


Groups = list[tuple[Tensor, Side]]


def find_side(x: Tensor, n: int, ensemble: bool = True) -> Side:
    """Find the codes nearest to coordinates (...) along an axis of n codes: rel is (V, ..., 1).

    Args:
        x: fp32 or wider; indices are computed in its dtype.
        ensemble: Move the queries by half a code's side; else take the nearest code alone.
    """
    index, rel = [], []
    for shift in (-1, 1) if ensemble else (None,):
        code, centre = nearest_code(x, n, None if shift is None else shift / n)
        index.append(code)
        rel.append((x - centre) * n)
    return Side(torch.stack(index), torch.stack(rel).unsqueeze(-1))


class Corners(NamedTuple):
    """The codes that queries take from each of T = V * V corners.

    Attributes:
        row, col: Index of the code, (T, ...) each.
        y, x: Distance from the code to queries, (T, ..., L) each.
    """

    row: Tensor
    col: Tensor
    y: Tensor
    x: Tensor


def corners(rows: Side, cols: Side) -> Corners:
    """Combine every code along the rows with every code along the columns.

    The corner t = (-1,-1), (-1,+1), (+1,-1), (+1,+1) moves the query by half a code's side each
    way; its weight is the area between the query and the code of the opposite corner 3 - t.

    Args:
        rows, cols: Sides whose shapes (...) broadcast.
    """
    ways = len(rows.code)
    cells = torch.broadcast_tensors(rows.code[0], cols.code[0])[0].shape

    def paired(part: Tensor, axis: int) -> Tensor:
        own = part.shape[1 + len(cells) :]
        return part.unsqueeze(1 - axis).expand(ways, ways, *cells, *own).flatten(0, 1)

    return Corners(
        paired(rows.code, 0), paired(cols.code, 1), paired(rows.rel, 0), paired(cols.rel, 1)
    )


def ensemble_weights(y: Tensor, x: Tensor) -> Tensor:
    """Divide the area of each opposite corner by their sum: rel_coord (T, ...) each -> (T, ...)."""
    areas = (y * x).abs_().add_(1e-9)
    return areas.flip(0).div_(areas.sum(0))


def read_corners(latent: CodeLatent, coord: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Read the four codes around each query (B, Q, 2), their rel_coord and their weights.

    Returns:
        The codes (T, B, Q, C), rel_coord (T, B, Q, 2) and the weights (T, B, Q, 1).
    """
    rows, cols = (find_side(x, n) for x, n in zip(coord.unbind(-1), latent.grid, strict=True))
    row, col, y, x = corners(rows, cols)
    found = latent.codes.read(latent.index(row, col))
    return found, torch.cat([y, x], dim=-1), ensemble_weights(y, x)


def blend(
    predict: Predict | CodeFunction,
    latent: CodeLatent,
    queries: Queries,
    ensemble: bool = True,
    width: int | None = None,
) -> Tensor:
    """Blend the predictions f(z, rel_coord, rel_cell) of the code z of each corner, by area.

    Args:
        predict: The function f, see `Predict`; the codes are ``latent.codes``.
        queries: The queries; without a cell there is no rel_cell.
        ensemble: Blend the four corners; else take the nearest code alone.
        width: Floats that f computes per query. If given, queries of a grid that have the same
            codes, such as those between the same four, are processed together on a CPU: codes are
            found by row and by column, and read once. If None, S is 1.

    Returns:
        (B, Q, 3).
    """
    codes, sizes = latent.codes, latent.grid
    coord, cell = queries.coord, queries.cell
    rel_cell = None
    if cell is not None:
        rel_cell = torch.stack([cell[..., axis] * n for axis, n in enumerate(sizes)], dim=-1)
        rel_cell = rel_cell.unsqueeze(-2).unsqueeze(0)
        rel_cell = rel_cell if codes.rows.dtype == torch.float64 else rel_cell.float()
    groups = None
    if width is not None and fits_cache(codes) and len(coord) == codes.batch and queries.one_cell:
        groups = _find_groups(queries, sizes, ensemble)
    if groups is None:
        rows, cols = (
            find_side(x, n, ensemble) for x, n in zip(coord.unbind(-1), sizes, strict=True)
        )
        return _blend_cells(predict, latent, rows, cols, rel_cell, width).flatten(1, 3)
    rel_cell = None if rel_cell is None else rel_cell[:, :, :1]
    lines, down, right = [], [], torch.cat([members.flatten() for members, _ in groups[1]])
    for members, some_rows in groups[0]:
        down.append(members.flatten())
        line = []
        for _, some_cols in groups[1]:
            above = Side(some_rows.code[:, None, :, None], some_rows.rel[:, None, :, None])
            beside = Side(some_cols.code[:, None, None], some_cols.rel[:, None, None])
            block = _blend_cells(predict, latent, above, beside, rel_cell, width)
            # (B, rows of cells, columns of cells, L, L', 3) to pixels
            line.append(block.unflatten(1, (len(members), -1)).transpose(2, 3).flatten(3, 4))
        lines.append(torch.cat(line, dim=3).flatten(1, 2))
    rgb = torch.cat(lines, dim=1).index_select(1, torch.cat(down).argsort())
    return rgb.index_select(2, right.argsort()).flatten(1, 2)


def _find_groups(queries: Queries, sizes: Size, ensemble: bool) -> tuple[Groups, Groups] | None:
    """Find the runs of rows and columns, see `Side.runs`, if queries are a grid and it pays off."""
    axes = queries.fast_axes
    if axes is None:
        return None
    rows, cols = (list(find_side(x, n, ensemble).runs()) for x, n in zip(axes, sizes, strict=True))
    cells = math.prod(sum(len(members) for members, _ in groups) for groups in (rows, cols))
    pays = queries.coord.shape[1] >= max(2 * cells, amounts.SMALLEST_BLOCK * len(rows) * len(cols))
    return (rows, cols) if pays else None


def _blend_cells(
    predict: Predict | CodeFunction,
    latent: CodeLatent,
    rows: Side,
    cols: Side,
    rel_cell: Tensor | None,
    width: int | None,
) -> Tensor:
    """Compute colours (B, K, L, L', 3) of the queries at K pairs of a row and a column of codes.

    Args:
        rows, cols: Sides whose shapes (B or 1, ...) broadcast to K, for L and L' queries.
        rel_cell: (1, B, K or 1, 1, 2).
    """
    codes = latent.codes
    row, col, y, x = (part.flatten(2, rows.code.ndim - 1) for part in corners(rows, cols))
    index = latent.index(row, col)
    inputs = [part.expand(-1, index.shape[1], -1, -1) for part in (y, x)]
    if rel_cell is not None:
        inputs.append(rel_cell.expand(-1, -1, index.shape[2], -1, -1))

    def weighted(
        z: Tensor, y: Tensor, x: Tensor, cell: Tensor | None = None, *, spare: Tensor | None
    ) -> Tensor:
        y, x = y.unsqueeze(-1), x.unsqueeze(-2)
        weights = ensemble_weights(y, x)
        if codes.rows.dtype != torch.float64:
            y, x = y.float(), x.float()  # differences need no more bits
        rel_coord = torch.stack(torch.broadcast_tensors(y, x), dim=-1).flatten(-3, -2)
        z = z.unsqueeze(-2)
        if spare is not None and isinstance(predict, CodeFunction):
            rgb = predict.in_place(z, rel_coord, cell, spare)
        else:
            rgb = predict(z, rel_coord, cell)
        return (rgb.unflatten(-2, weights.shape[-2:]) * weights.unsqueeze(-1)).sum(0)

    size = y.shape[-1] * x.shape[-1]
    return in_cache(weighted, codes, index, *inputs, size=size, width=width)
