"""Queries in pieces: as many at a time as the memory, or the processor's cache, has room for.

Where gradients or a program are recorded, all queries are one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.reading import amounts
from models.reading.codes import CodeTable
from utils import in_inference


def pieces(count: int, *inputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """So many queries of all inputs (..., Q, C) at a time."""
    return zip(*(x.split(count, dim=-2) for x in inputs), strict=True)


def in_pieces(function: Callable[..., Tensor], count: int, *inputs: Tensor) -> Tensor:
    """A function of so many queries at a time: inputs (..., Q, C) -> (B, Q, ...)."""
    if not in_inference():
        return function(*inputs)
    return torch.cat([function(*piece) for piece in pieces(count, *inputs)], dim=1)


def at_all_codes(
    function: Callable[..., Tensor], count: int, tables: list[CodeTable], inputs: Tensor
) -> Tensor:
    """A function of so many codes at a time: (B, h, w, ...).

    Args:
        function: Of the codes (B, n, C) of each table, and of inputs (B, n, D).
        tables: Of maps of one size.
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
    """Whether `in_cache` splits queries into pieces: for inference on a CPU."""
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
        function: Of the codes (T, B, k, C) at an index, of the inputs and ``spare``, with results
            (B, k, ...). It may overwrite the codes. Spare is None unless `fits_cache`, or else
            memory for activations, (T*B*k*size or more, channels of the codes); that every piece
            has the same one keeps it in the cache.
        index: (T, B, K).
        inputs: (T, B, K, ...) each.
        size: So many queries share their codes.
        width: Floats of a query, if codes are read once for those that share them; else they are as
            many as those of the codes.
    """
    if not fits_cache(codes):
        return function(codes.read(index), *inputs, spare=None)
    corners, batch, count = index.shape
    channels = codes.channels * (9 if codes.unfold else 1)
    floats = channels * size if width is None else channels + width * size
    step = max(1, amounts.CACHED_FLOATS // (floats * corners * batch))
    own, spare = None, None
    if not codes.unfold:
        rows = min(step, count) * size * corners * batch
        own, spare = codes.rows.new_empty(2, rows, channels)
    parts = zip(*(x.split(step, dim=2) for x in (index, *inputs)), strict=True)
    return torch.cat(
        [function(codes.read(at, own), *part, spare=spare) for at, *part in parts], dim=1
    )
