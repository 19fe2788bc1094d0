"""An encoded image, and how queries read it: codes, corners, and the local ensemble."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from utils import nearest_index, pixel_centres

# Queries are moved by this much so that points between two codes take the same one on any machine.
EPS = 1e-6

# Floats of one layer's activations in a chunk of queries: 2 MiB.
CPU_CHUNK = 2**19

# Colours (T, B, q, 3) of codes at an index (T, B, q), places (T, B, q, 2 or 4), memory to use.
Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class CodeTable:
    """A map whose vectors are read by index, each with its 3 x 3 neighbours if ``unfold``.

    Unfolded it reads the same numbers as `F.unfold` (zeros outside, channel-major) without ever
    holding the map that is nine times as large.

    Args:
        feat: (B, C, h, w).
    """

    def __init__(self, feat: Tensor, unfold: bool = False) -> None:
        self.unfold = unfold
        padded = F.pad(feat, (1, 1, 1, 1)) if unfold else feat
        self.batch, self.channels, self.height, self.width = padded.shape
        self.rows = padded.permute(0, 2, 3, 1).contiguous().view(-1, self.channels)

    def item(self, number: int) -> CodeTable:
        """Of one image of the batch."""
        alone = copy(self)
        alone.batch, alone.rows = 1, self.rows.chunk(self.batch)[number]
        return alone

    def index(self, row: Tensor, col: Tensor) -> Tensor:
        """What `read` takes: (..., B, Q), for indices of rows and columns (..., B, Q) each."""
        image = torch.arange(self.batch, device=row.device).unsqueeze(1) * self.height * self.width
        return image + row * self.width + col

    def read(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        """The vectors (..., C or 9C) at an index (...).

        Args:
            memory: At least as many rows of length C to write the vectors to; not if unfolded.
        """
        if not self.unfold:
            return self._rows_at(index, memory)
        steps = torch.arange(3, device=index.device)
        neighbours = (steps.unsqueeze(1) * self.width + steps).flatten()
        return self._rows_at(index.unsqueeze(-1) + neighbours).transpose(-1, -2).flatten(-2)

    def _rows_at(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        out = None if memory is None else memory[: index.numel()]
        rows = torch.index_select(self.rows, 0, index.flatten(), out=out)
        return rows.view(*index.shape, self.channels)


@dataclass(frozen=True)
class Latent:
    """An encoded image, or an encoded part of one: all that decoding needs of it.

    Attributes:
        feat: Feature map (B, C, h, w).
        inp: The pixels it was made from (B, 3, h, w), normalised.
        codes: What queries read per code, if it is more than the feature map.
        tables: What queries read, if that is several tables.
        hidden: Some other map (B, D, h, w) that is computed once.
        memo: What depends on the latent and on the cell, for the last cell.
        context: What queries need to know of all others, if the model's queries see each other.
        origin: Of a part, the row and column of its first pixel in the image.
        image_size: Of a part, the (h, w) of the image.
    """

    feat: Tensor
    inp: Tensor
    codes: CodeTable | None = None
    tables: tuple[CodeTable, ...] = ()
    hidden: Tensor | None = None
    memo: dict[tuple[float, ...], CodeTable] = field(default_factory=dict)
    context: tuple[Tensor, ...] | None = None
    origin: tuple[int, int] = (0, 0)
    image_size: tuple[int, int] | None = None

    def item(self, number: int) -> Latent:
        """Of one image of the batch."""
        part = slice(number, number + 1)
        return replace(
            self,
            feat=self.feat[part],
            inp=self.inp[part],
            codes=None if self.codes is None else self.codes.item(number),
            tables=tuple(table.item(number) for table in self.tables),
            hidden=None if self.hidden is None else self.hidden[part],
            memo={},
        )

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        tables = [self.codes, *self.tables, *self.memo.values()]
        maps = [self.feat, self.inp, self.hidden]
        rows = [table.rows for table in tables if table is not None]
        return sum(tensor.nbytes for tensor in [*maps, *rows] if tensor is not None)

    @property
    def whole(self) -> tuple[int, int]:
        """(h, w) of the image."""
        return self.image_size or (self.inp.shape[-2], self.inp.shape[-1])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the feature map of the image."""
        if self.image_size is None:
            return self.feat.shape[-2], self.feat.shape[-1]
        return self.image_size[0] * self._factor, self.image_size[1] * self._factor

    @property
    def grid_origin(self) -> tuple[int, int]:
        """Row and column of the first code of ``feat`` in that map."""
        return self.origin[0] * self._factor, self.origin[1] * self._factor

    @property
    def _factor(self) -> int:
        return self.feat.shape[-2] // self.inp.shape[-2]


class Corners(NamedTuple):
    """The codes that queries take from each of T = 4 corners, or T = 1 without the ensemble.

    Attributes:
        row, col: Index of the code, (T, B, Q) each.
        rel_coord: (T, B, Q, 2), from the code to the query in units of half a code's side.
    """

    row: Tensor
    col: Tensor
    rel_coord: Tensor


def corners(coord: Tensor, h: int, w: int, ensemble: bool) -> Corners:
    """The nearest codes of each query, seen from its four corners (LIIF, eq. 4).

    The corner t = (-1,-1), (-1,+1), (+1,-1), (+1,+1) moves the query by half a code's side each
    way; the area between query and code of the opposite corner 3 - t is its weight.

    Args:
        coord: (B, Q, 2), fp32 or wider; indices are computed in its dtype.
        h, w: Size of the grid of codes.
        ensemble: Without it there is one corner, not moved.
    """
    shifts = (-1, 1) if ensemble else (0,)
    rows, cols = (
        [_nearest(coord[..., axis], n, shift) for shift in shifts] for axis, n in enumerate((h, w))
    )
    pairs = [(row, col) for row in rows for col in cols]
    return Corners(
        torch.stack([row for (row, _), _ in pairs]),
        torch.stack([col for _, (col, _) in pairs]),
        torch.stack([torch.stack([y, x], dim=-1) for (_, y), (_, x) in pairs]),
    )


def _nearest(x: Tensor, n: int, shift: int) -> tuple[Tensor, Tensor]:
    """Index of, and distance from, the code nearest to x moved by half a code's side; as x."""
    moved = x + (shift / n + EPS) if shift else x
    index = nearest_index(moved.clamp(-1 + EPS, 1 - EPS), n)
    centres = pixel_centres(n, dtype=x.dtype, device=x.device)
    return index, (x - centres[index]) * n


def ensemble_weights(rel_coord: Tensor) -> Tensor:
    """Area of the corner opposite to each, over their sum: (T, B, Q, 2) -> (T, B, Q, 1)."""
    areas = (rel_coord[..., 0] * rel_coord[..., 1]).abs() + 1e-9
    return (areas.flip(0) / areas.sum(0)).unsqueeze(-1)


def fits_cache(codes: CodeTable) -> bool:
    """Whether `in_cache` splits queries into chunks: for inference on a CPU."""
    traced = torch.compiler.is_compiling()  # or exported: the number of queries must stay open
    autocast = torch.is_autocast_enabled("cpu")
    return codes.rows.device.type == "cpu" and not (torch.is_grad_enabled() or traced or autocast)


def in_cache(function: Callable[..., Tensor], codes: CodeTable, *inputs: Tensor) -> Tensor:
    """Apply a function to chunks of queries whose activations stay in the processor's cache.

    Unless `fits_cache`, it is one chunk.

    Args:
        function: Of the inputs and ``memory``, with results (B, q, C). The memory is None, or two
            pieces (2, T*B*q or more, channels of the codes) to write activations to; that every
            chunk has the same ones keeps them in the cache.
        inputs: (T, B, Q, ...) each.
    """
    if not fits_cache(codes):
        return function(*inputs, memory=None)
    corners, batch, queries = inputs[0].shape[:3]
    width = codes.channels * (9 if codes.unfold else 1)
    step = max(1, CPU_CHUNK // (width * corners * batch))
    memory = None
    if not codes.unfold:
        memory = codes.rows.new_empty(2, min(step, queries) * corners * batch, width)
    parts = zip(*(x.split(step, dim=2) for x in inputs), strict=True)
    return torch.cat([function(*part, memory=memory) for part in parts], dim=1)


def blend(
    predict: Predict, latent: Latent, coord: Tensor, cell: Tensor | None, ensemble: bool = True
) -> Tensor:
    """What is predicted from the code of each corner, weighted by area (LIIF, eq. 4): (B, Q, 3).

    Args:
        predict: Of an index into ``latent.codes`` (T, B, q) and places (T, B, q, 2 or 4): rel_coord
            and, with ``cell``, the cell in units of half a code's side. And of memory, see
            `in_cache`.
        coord, cell: (B, Q, 2).
        ensemble: Without it the nearest code alone.
    """
    codes = latent.codes
    assert codes is not None
    (h, w), (top, left) = latent.grid, latent.grid_origin
    row, col, rel_coord = corners(coord, h, w, ensemble)
    place = rel_coord
    if cell is not None:
        rel_cell = torch.stack([cell[..., 0] * h, cell[..., 1] * w], dim=-1)
        place = torch.cat([place, rel_cell.expand_as(place)], dim=-1)
    if codes.rows.dtype != torch.float64:
        place = place.float()  # differences need no more bits

    def weighted(index: Tensor, place: Tensor, weights: Tensor, memory: Tensor | None) -> Tensor:
        return (predict(index, place, memory) * weights).sum(0)

    index = codes.index(row - top, col - left)
    return in_cache(weighted, codes, index, place, ensemble_weights(rel_coord))
