"""The codes of a map: a vector for every place, which queries read by index, piece by piece.

A piece has as many queries as fit in memory or in the processor's cache. Where gradients or a
program are recorded, all queries form one piece.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from models.reading import amounts
from models.reading.threads import each_alone, threads_for
from utils import in_inference, nearest_index, pixel_centres

# Queries are moved by this much, so that points between two codes take the same one on any machine.
EPS = 1e-6

Move = Tensor | float | None


class CodeTable:
    """A map whose vectors are read by index, each with its 3 x 3 neighbours if ``unfold``.

    With ``unfold`` it reads the same numbers as `F.unfold` (zeros outside, channel-major) without
    ever storing the map that is nine times as large.

    Args:
        feat: (B, C, h, w).
    """

    def __init__(self, feat: Tensor, unfold: bool = False) -> None:
        self.unfold = unfold
        padded = F.pad(feat, (1, 1, 1, 1)) if unfold else feat
        self.batch, self.channels, self.height, self.width = padded.shape
        self.rows = padded.permute(0, 2, 3, 1).contiguous().view(-1, self.channels)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the map."""
        border = 2 if self.unfold else 0
        return self.height - border, self.width - border

    def item(self, number: int) -> CodeTable:
        """The table of one image of the batch."""
        alone = copy(self)
        alone.batch, alone.rows = 1, self.rows.chunk(self.batch)[number]
        return alone

    def index(self, row: Tensor, col: Tensor) -> Tensor:
        """Compute the index (..., B, Q) that `read` takes from rows and columns (..., B, Q)."""
        image = torch.arange(self.batch, device=row.device).unsqueeze(1) * self.height * self.width
        return image + row * self.width + col

    def read(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        """Read the vectors (..., C or 9C) at an index (...).

        Args:
            memory: At least as many rows of length C to write the vectors to; unused if unfolded.
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


def nearest_code(x: Tensor, n: int, move: Move = None) -> tuple[Tensor, Tensor]:
    """Find the code nearest to coordinates along an axis of n codes: its index and its centre.

    Args:
        x: fp32 or wider; indices are computed in its dtype.
        move: Distance by which to move the coordinates, in addition to `EPS`; None for no move.
    """
    moved = x if move is None else x + (move + EPS)
    index = nearest_index(moved.clamp(-1 + EPS, 1 - EPS), n)
    return index, pixel_centres(n, dtype=x.dtype, device=x.device)[index]


def of_codes(weight: Tensor, bias: Tensor | None, feat: Tensor, unfold: bool) -> Tensor:
    """Apply a linear layer to every code, unfolded or not: (B, C, h, w) -> (B, out, h, w).

    Unfolding followed by a linear layer is a 3 x 3 convolution, so neither the unfolded map nor the
    unfolded codes are ever created.

    Args:
        weight: Columns of the layer that act on the code, (out, 9C), or (out, C).
    """
    side = 3 if unfold else 1
    return F.conv2d(feat, weight.unflatten(1, (-1, side, side)), bias, padding=side // 2)


def pieces(count: int, *inputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split all inputs (..., Q, C) into pieces of ``count`` queries."""
    return zip(*(x.split(count, dim=-2) for x in inputs), strict=True)


def in_pieces(function: Callable[..., Tensor], count: int, *inputs: Tensor) -> Tensor:
    """Apply a function to ``count`` queries at a time: inputs (..., Q, C) -> (B, Q, ...).

    Several threads share them.
    """
    if not in_inference():
        return function(*inputs)
    count = -(-count // threads_for(*inputs))  # pieces that are in memory at the same time
    return torch.cat(each_alone(function, list(pieces(count, *inputs))), dim=1)


def at_all_codes(
    function: Callable[..., Tensor], count: int, tables: list[CodeTable], inputs: Tensor
) -> Tensor:
    """Apply a function to ``count`` codes at a time: (B, h, w, ...).

    Args:
        function: Function of the codes (B, n, C) of each table, and of inputs (B, n, D).
        tables: Tables of maps that all have one size.
        inputs: (B, h, w, D).
    """
    batch, h, w = inputs.shape[:3]
    rows, cols = torch.meshgrid(
        *(torch.arange(n, device=inputs.device) for n in (h, w)), indexing="ij"
    )
    places = [x.flatten().expand(batch, -1) for x in (rows, cols)]

    def read(inputs: Tensor, *indices: Tensor) -> Tensor:
        found = zip(tables, indices, strict=True)
        return function(*(table.read(index.squeeze(-1)) for table, index in found), inputs)

    indices = [table.index(*places).unsqueeze(-1) for table in tables]
    return in_pieces(read, count, inputs.flatten(1, 2), *indices).unflatten(1, (h, w))


def fits_cache(codes: CodeTable) -> bool:
    """Tell whether `in_cache` splits queries into pieces: it does for inference on a CPU."""
    plain = in_inference() and not torch.is_autocast_enabled("cpu")
    return plain and codes.rows.device.type == "cpu"


def in_cache(
    function: Callable[..., Tensor],
    codes: CodeTable,
    index: Tensor,
    *inputs: Tensor,
    size: int = 1,
    width: int | None = None,
) -> Tensor:
    """Apply a function to pieces of the queries whose activations stay in the processor's cache.

    Args:
        function: Function of the codes (T, B, k, C) at an index, the inputs and ``spare``, with
            results (B, k, ...). It may overwrite the codes. ``spare`` is memory for activations,
            (T*B*k*size or more, channels of the codes), or None, as it is unless `fits_cache`; all
            pieces of a thread get the same memory, so that it stays in the cache.
        index: (T, B, K).
        inputs: (T, B, K, ...) each.
        size: Number of queries that share their codes.
        width: Floats per query, if codes are read once for the queries that share them; None if a
            query has as many floats as the codes.
    """
    if not fits_cache(codes):
        return function(codes.read(index), *inputs, spare=None)
    corners, batch, count = index.shape
    channels = codes.channels * (9 if codes.unfold else 1)
    floats = channels * size if width is None else channels + width * size
    step = max(1, amounts.CACHED_FLOATS // (floats * corners * batch))
    rows, of_thread = min(step, count) * size * corners * batch, threading.local()

    def work(at: Tensor, *part: Tensor) -> Tensor:
        if codes.unfold:
            return function(codes.read(at), *part, spare=None)
        if not hasattr(of_thread, "memory"):
            of_thread.memory = codes.rows.new_empty(2, rows, channels)
        own, spare = of_thread.memory
        return function(codes.read(at, own), *part, spare=spare)

    parts = list(zip(*(x.split(step, dim=2) for x in (index, *inputs)), strict=True))
    return torch.cat(each_alone(work, parts), dim=1)
