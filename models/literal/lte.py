"""The formulas of LTE and LTE+, written out literally."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.literal.places import bilinear, ensemble, nearest, rows_of


def lte(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LTE: amplitudes and consecutive pairs of frequencies, sampled at four corners."""
    return _texture(model, inp, feat, coord, cell, lambda f: f.unflatten(-1, (-1, 2)), model.imnet)


def lte_fast(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LTE+: all row frequencies come first, and the decoder is made of 1 x 1 convolutions."""

    def decode(x: Tensor) -> Tensor:
        return model.layers(x[..., None, None])[..., 0, 0]

    def pairs(f: Tensor) -> Tensor:
        return torch.stack(f.chunk(2, dim=-1), dim=-1)

    return _texture(model, inp, feat, coord, cell, pairs, decode)


def _texture(
    model: Any,
    inp: Tensor,
    feat: Tensor,
    coord: Tensor,
    cell: Tensor,
    pairs: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
) -> Tensor:
    coef, freq = model.coef(feat), model.freq(feat)
    rel_cell = cell * cell.new_tensor(feat.shape[-2:])

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        theta = (pairs(nearest(freq, moved)) * rel.unsqueeze(-2)).sum(-1) + model.phase(rel_cell)
        waves = torch.cat([torch.cos(torch.pi * theta), torch.sin(torch.pi * theta)], dim=-1)
        return rows_of(decode, nearest(coef, moved) * waves)

    return ensemble(feat, coord, predict) + bilinear(inp, coord)
