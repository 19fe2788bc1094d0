"""Attention of queries to the codes around them, as in CLIT."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.decoders.mlp import MLP
from models.decoders.posenc import PositionEncoding
from models.reading import amounts
from models.reading.neighbourhood import Around, Window, group
from utils import in_inference


class Seen(NamedTuple):
    """The codes that the queries of a stage see.

    Attributes:
        around: Positions of the codes.
        queries: Window of attention queries (D channels); None without attention.
        values: Window of keys and values (2 D channels); of values alone without attention.
        rel_cell: (B, Q, 2), in units of half a code's side; None if it is not decoded.
    """

    around: Around
    queries: Window | None
    values: Window
    rel_cell: Tensor | None

    def some(self, part: slice) -> Seen:
        """Return the same for some of the queries."""
        rel_cell = None if self.rel_cell is None else self.rel_cell[:, part]
        return self._replace(around=self.around.some(part), rel_cell=rel_cell)


class Attention(NamedTuple):
    """The networks of an attention.

    Attributes:
        imnet: Decoder of the weighted values of all codes around a query, and of rel_cell.
        encoding: Encoding of positions; None to use none.
        heads: Number of heads.
    """

    imnet: MLP
    encoding: PositionEncoding | None
    heads: int


def by_heads(codes: Tensor, heads: int, kinds: int) -> tuple[Tensor, ...]:
    """Split codes (..., kinds * D) into one (..., heads, D / heads) for each kind."""
    return codes.unflatten(-1, (kinds, heads, -1)).unbind(-3)


def attend(literal: Callable[[Seen], Tensor], network: Attention, seen: Seen) -> Tensor:
    """Compute what queries find, (B, Q, 3).

    Args:
        literal: The formula, written out query by query.
    """
    if not in_inference():
        return literal(seen)
    if seen.queries is not None and not seen.around.lost.any():
        return attend_by_code(network, seen)
    step = amounts.CLIT_QUERIES
    starts = range(0, seen.around.lost.shape[1], step)
    return torch.cat([literal(seen.some(slice(s, s + step))) for s in starts], dim=1)


def attend_by_code(network: Attention, seen: Seen) -> Tensor:
    """Do the same as `attend`, but let queries with one nearest code share its keys and values.

    The decoder's first layer is linear in the weighted values, and a weight is one number for all
    channels of a head. So the layer is applied to the values of each place and head, once for all
    these queries; only the weights are left to compute per query.
    """
    assert seen.queries is not None
    imnet, encoding, heads = network
    first, side = imnet.linears[0], len(seen.around.rows.codes)
    kernel = first.weight[:, : seen.queries.table.channels * side**2].T
    kernel = kernel.unflatten(0, (side**2 * heads, -1))  # places and heads, channels, out
    (query,) = by_heads(seen.queries.between(seen.around).flatten(0, 1), heads, 1)
    query = query / math.sqrt(query.shape[-1])
    bias = first.bias.expand(len(query), -1)
    if seen.rel_cell is not None:
        cells = seen.rel_cell.flatten(0, 1).to(query.dtype)
        bias = F.linear(cells, first.weight[:, -2:], first.bias)
    of_places = None
    if encoding is not None:
        parts = encoding(seen.around.rows.rel, seen.around.cols.rel)
        of_places = [part.flatten(1, 2).transpose(0, 1) for part in parts]
    corner = seen.values.locate(seen.around.rows.codes[0], seen.around.cols.codes[0])
    steps = torch.arange(side, device=corner.device)
    places = (steps.unsqueeze(1) * seen.values.table.width + steps).flatten()
    most = max(1, amounts.CLIT_TABLE // kernel[:, 0].numel())
    colours, order = [], []
    for code, members, meant in group(corner.flatten(), most):
        key, value = by_heads(seen.values.table.read(code.unsqueeze(1) + places), heads, 2)
        logits = query[members].transpose(1, 2) @ key.permute(0, 2, 3, 1)
        if of_places is not None:
            rows, cols = (part[members] for part in of_places)
            both = rows.unsqueeze(3) + cols.unsqueeze(2)  # code, query, row, column, head
            logits = logits + both.flatten(2, 3).permute(0, 3, 1, 2)
        weights = logits.softmax(-1).permute(0, 2, 3, 1).flatten(2)
        table = value.permute(1, 2, 0, 3).flatten(0, 1) @ kernel
        x = imnet.rest(bias[members] + weights @ table.transpose(0, 1))
        colours.append(x[meant])
        order.append(members[meant])
    found = torch.cat(colours)
    found = torch.empty_like(found).index_copy_(0, torch.cat(order), found)
    return found.unflatten(0, seen.around.lost.shape)
