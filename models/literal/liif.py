"""The formulas of LIIF and Meta-SR, written out literally."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.literal.places import centres, ensemble, nearest, rows_of, unfold


def liif(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LIIF, section 3 of the paper: four grid_samples of the unfolded map, four mlp calls."""
    codes = unfold(feat) if model.feat_unfold else feat
    cells = [cell * cell.new_tensor(feat.shape[-2:])] if model.cell_decode else []

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        return rows_of(model.imnet, torch.cat([nearest(codes, moved), rel, *cells], dim=-1))

    return ensemble(feat, coord, predict, model.local_ensemble)


def metasr(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """Meta-SR: a matrix per query, from its offset to the nearest code's corner, times the code."""
    h, w = feat.shape[-2:]
    size = coord.new_tensor([h, w])
    corner = coord - cell / 2
    moved = (corner + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
    code_corners = centres(feat) - feat.new_tensor([1 / h, 1 / w]).view(1, 2, 1, 1)
    rel = (corner - nearest(code_corners, moved)) * size / 2
    x = torch.cat([rel, cell[..., :1] * h / 2], dim=-1)
    code = nearest(unfold(feat), moved)
    return torch.einsum("bqd,bqdc->bqc", code, model.imnet(x).unflatten(-1, (-1, 3)))
